"""Sets of whole slides with annotations: CAMELYON16, PAIP2019, and slides with GeoJSON from QuPath."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import shapely

from qupath_sam.datasets.annotated import AnnotationChoices
from qupath_sam.datasets.annotations import Area, area_of, read_asap, read_imagescope, union_of
from qupath_sam.datasets.base import SLIDE_SUFFIXES, Dataset
from qupath_sam.datasets.exported import GEOJSON_SUFFIXES, read_annotations
from qupath_sam.datasets.options import Target
from qupath_sam.datasets.pairing import pair_files
from qupath_sam.datasets.patches import AnnotatedSlide, Cut, cut_slides
from qupath_sam.errors import InvalidRequest

#: CAMELYON16's README: outlines of these groups are tumour, of these are holes of normal tissue in it.
CAMELYON16_TUMOUR, CAMELYON16_NORMAL = frozenset({"_0", "_1", "Tumor"}), frozenset({"_2", "Exclusion"})
#: PAIP2019: `Annotation Id` of the whole tumour (one closed outline) and of its viable parts.
PAIP2019_WHOLE, PAIP2019_VIABLE = "1", "2"


def read_camelyon16(root: Path, *, magnification: float) -> Dataset:
    """Read CAMELYON16 (Ehteshami Bejnordi et al. 2017).

    ``tumor_001.tif`` with ASAP ``tumor_001.xml``, in any folders.

    Each slide is of another patient, so the slide is the group.
    """
    return _cut(root, root.resolve().name, (".xml",), _camelyon16_area, magnification)


def read_paip2019(root: Path, *, magnification: float, annotation: str = PAIP2019_VIABLE) -> Dataset:
    """Read PAIP2019 (Kim et al. 2021): ``01_01_0083.svs`` with ImageScope ``01_01_0083.xml``, in any folders.

    Each slide is of another patient, so the slide is the group. The papers do not say which of the two annotated areas
    they segment; the challenge's own task is the viable tumour.
    """
    # The same folder may be asked for both areas at once, and reports go by the name.
    name = f"{root.resolve().name}-paip2019-whole" if annotation == PAIP2019_WHOLE else root.resolve().name
    return _cut(root, name, (".xml",), partial(_paip2019_area, annotation=annotation), magnification)


def read_geojson_slides(root: Path, choices: AnnotationChoices | None = None, *, magnification: float) -> Dataset:
    """Read slides with GeoJSON named as for `exported.read`.

    Every annotation of the wanted classes belongs to the target.

    Raises:
        InvalidRequest: another scale or target is asked for, and what `cut_slides` raises.
    """
    choices = choices or AnnotationChoices()
    if choices.mpp or choices.downsample or choices.target is Target.INSTANCES:
        raise InvalidRequest(
            f"geojson-x{magnification:g} has a scale and a target of its own; use geojson:FOLDER to choose them"
        )
    area_in = partial(_geojson_area, choices=choices)
    return _cut(root, root.resolve().name, GEOJSON_SUFFIXES, area_in, magnification)


def _cut(
    root: Path, name: str, suffixes: Sequence[str], area_in: Callable[[Sequence[Path]], Area], magnification: float
) -> Dataset:
    """Cut the patches of all slides below ``root`` that have annotations; several files of one slide count together."""
    pairs = pair_files(root, annotations=suffixes, slides=SLIDE_SUFFIXES)
    slides = [AnnotatedSlide(s, s.stem, partial(area_in, files)) for s, files in pairs.of_slides.items()]
    return cut_slides(f"{name}-x{magnification:g}", slides, Cut(magnification), left_out=pairs.left_out)


def _camelyon16_area(files: Sequence[Path]) -> Area:
    outlines = [outline for path in files for outline in read_asap(path)]
    return union_of(
        (o for o in outlines if o.group in CAMELYON16_TUMOUR),
        cut_out=(o for o in outlines if o.group in CAMELYON16_NORMAL),
    )


def _paip2019_area(files: Sequence[Path], *, annotation: str) -> Area:
    return union_of(o for path in files for o in read_imagescope(path) if o.group == annotation)


def _geojson_area(files: Sequence[Path], *, choices: AnnotationChoices) -> Area:
    annotations = [annotation for path in files for annotation in read_annotations(path)[0]]
    wanted = [a.geometry for a in annotations if choices.wants(a.path_class) and (a.z, a.t) == (0, 0)]
    return area_of(shapely.union_all(wanted))
