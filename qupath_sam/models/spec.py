"""What is said of a model: its family, what it can do, where its weights come from, under which licence.

Pure data. The models themselves are in `qupath_sam.models.registry`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from qupath_sam.models.base import Capabilities


class Family(enum.Enum):
    """An architecture with its preprocessing; models of one family differ in their weights only."""

    LITE_MEDSAM = "lite_medsam"
    MOBILE_SAM = "mobile_sam"
    SAM_VIT_B = "sam_vit_b"
    SAM_VIT_L = "sam_vit_l"
    SAM_VIT_H = "sam_vit_h"
    MEDSAM_VIT_B = "medsam_vit_b"
    RITM = "ritm"
    FOCALCLICK = "focalclick"
    SIMPLECLICK = "simpleclick"
    SAM_HQ = "sam_hq"
    SAM2 = "sam2"
    EDGETAM = "edgetam"
    SAM3_TRACKER = "sam3_tracker"
    FAKE = "fake"


#: Families whose networks take clicks and a previous mask, and nothing else (`qupath_sam.models.interactive`).
CLICK_FAMILIES = frozenset({Family.RITM, Family.FOCALCLICK, Family.SIMPLECLICK})
#: Families that Hugging Face's `transformers` hosts (the extra ``[transformers]``): a weights file and its config.json.
TRANSFORMERS_FAMILIES = frozenset({Family.SAM_HQ, Family.SAM2, Family.EDGETAM, Family.SAM3_TRACKER})


@dataclass(frozen=True, slots=True)
class Licence:
    """Under which terms weights may be used.

    Attributes:
        spdx: SPDX identifier, or "LicenseRef-unknown".
        note: what a reader should know beside it.
    """

    spdx: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.spdx} ({self.note})" if self.note else self.spdx


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file to be downloaded on request.

    Attributes:
        url: where its publisher keeps it; empty where only a browser gets it, from the model's ``source``.
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
class HubWeights(WeightsFile):
    """A folder of a Hugging Face hub, of which ``model.safetensors`` and ``config.json`` are downloaded on request.

    Attributes:
        repository: such as "facebook/sam2.1-hiera-tiny".
        revision: commit that is downloaded; empty takes the newest one, and keeps to that for good.
        about_bytes: of the weights file, to three digits: computed, four bytes for each parameter of the published
            configuration (SAM 2.1, EdgeTAM and SAM 3: of the video model, which is what is published).
    """

    repository: str = ""
    revision: str = ""
    about_bytes: int | None = None


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
        boxes_checked_by: name of the model whose answer to a box that comes alone is taken where this one's is about
            something else; empty for none. It has the same family and is on every machine that this one is on.
        first_clicks_with: name of the model whose mask decoder answers first clicks too; empty for none. Its weights
            are a delta of this one's that leaves the encoder as it is, and are on every machine that this one is on.
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
    boxes_checked_by: str = ""
    first_clicks_with: str = ""


def default_capabilities(family: Family) -> Capabilities:
    """Return the usual capabilities of a family's models."""
    match family:
        case Family.LITE_MEDSAM:
            return Capabilities(input_size=256, mask_count=1)  # trained to give one mask
        case Family.MEDSAM_VIT_B:
            return Capabilities(input_size=1024, mask_count=1)
        case Family.FAKE:
            return Capabilities(input_size=256, mask_count=3)
        case Family.SAM3_TRACKER:
            return Capabilities(input_size=1008, mask_count=3)
        case Family.RITM:
            return _clicks_only(400)
        case Family.FOCALCLICK:
            return _clicks_only(512)
        case Family.SIMPLECLICK:
            return _clicks_only(448)
        case _:
            return Capabilities(input_size=1024, mask_count=3)


def _clicks_only(input_size: int) -> Capabilities:
    return Capabilities(input_size, mask_count=1, boxes=False, outlines=False)


def default_mpp(family: Family) -> float:
    """Return um/px at which a window of the family's input size spans 200 to 256 um."""
    if family in (Family.LITE_MEDSAM, Family.FAKE):
        return 1.0
    return 0.5 if default_capabilities(family).input_size <= 512 else 0.25
