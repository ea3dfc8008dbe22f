"""Sets of whole slides with annotations: CAMELYON16, PAIP2019, and slides with GeoJSON from QuPath."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import shapely

from qupath_sam.errors import InvalidRequest
from qupath_sam.evaluation.datasets.annotated import AnnotationChoices
from qupath_sam.evaluation.datasets.annotations import Area, area_of, read_asap, read_imagescope, union_of
from qupath_sam.evaluation.datasets.base import SLIDE_SUFFIXES, Dataset, walk_folders
from qupath_sam.evaluation.datasets.exported import read_annotations
from qupath_sam.evaluation.datasets.patches import AnnotatedSlide, Cut, cut_slides
from qupath_sam.evaluation.options import Target

#: CAMELYON16's README: outlines of these groups are tumour, of these are holes of normal tissue in it.
CAMELYON16_TUMOUR, CAMELYON16_NORMAL = frozenset({"_0", "_1", "Tumor"}), frozenset({"_2", "Exclusion"})
#: PAIP2019: `Annotation Id` of the whole tumour (one closed outline) and of its viable parts.
PAIP2019_WHOLE, PAIP2019_VIABLE = "1", "2"


def read_camelyon16(root: Path, *, magnification: float) -> Dataset:
    """CAMELYON16 (Ehteshami Bejnordi et al. 2017): ``tumor_001.tif`` with ASAP ``tumor_001.xml``, in any folders.

    Each slide is of another patient, so the slide is the group.
    """
    slides = [AnnotatedSlide(s, s.stem, partial(_camelyon16_area, x)) for s, x in _pairs(root, (".xml",))]
    return cut_slides(f"{root.resolve().name}-x{magnification:g}", slides, Cut(magnification))


def read_paip2019(root: Path, *, magnification: float, annotation: str = PAIP2019_VIABLE) -> Dataset:
    """PAIP2019 (Kim et al. 2021): ``01_01_0083.svs`` with ImageScope ``01_01_0083.xml``, in any folders.

    Each slide is of another patient, so the slide is the group. The papers do not say which of the two annotated areas
    they segment; the challenge's own task is the viable tumour.
    """
    slides = [AnnotatedSlide(s, s.stem, partial(_paip2019_area, x, annotation)) for s, x in _pairs(root, (".xml",))]
    return cut_slides(f"{root.resolve().name}-x{magnification:g}", slides, Cut(magnification))


def read_geojson_slides(root: Path, choices: AnnotationChoices | None = None, *, magnification: float) -> Dataset:
    """Slides with ``<slide>.geojson`` beside them; every annotation of the wanted classes belongs to the target.

    Raises:
        InvalidRequest: another scale or target is asked for, and what `cut_slides` raises.
    """
    choices = choices or AnnotationChoices()
    if choices.mpp or choices.downsample or choices.target is Target.INSTANCES:
        raise InvalidRequest(
            f"geojson-x{magnification:g} has a scale and a target of its own; use geojson:FOLDER to choose them"
        )
    wanted = partial(_geojson_area, choices=choices)
    slides = [AnnotatedSlide(s, s.stem, partial(wanted, g)) for s, g in _pairs(root, (".geojson", ".json"))]
    return cut_slides(f"{root.resolve().name}-x{magnification:g}", slides, Cut(magnification))


def _camelyon16_area(path: Path) -> Area:
    outlines = read_asap(path)
    return union_of(
        (o for o in outlines if o.group in CAMELYON16_TUMOUR),
        cut_out=(o for o in outlines if o.group in CAMELYON16_NORMAL),
    )


def _paip2019_area(path: Path, annotation: str) -> Area:
    return union_of(o for o in read_imagescope(path) if o.group == annotation)


def _geojson_area(path: Path, *, choices: AnnotationChoices) -> Area:
    annotations, _ = read_annotations(path)
    wanted = [a.geometry for a in annotations if choices.wants(a.path_class) and (a.z, a.t) == (0, 0)]
    return area_of(shapely.union_all(wanted))


def _pairs(root: Path, annotation_suffixes: tuple[str, ...]) -> list[tuple[Path, Path]]:
    """Slides and their annotation files, by name without suffix; masks as PAIP2019 ships them have none."""
    files = [path for folder in walk_folders(root) for path in sorted(folder.iterdir()) if path.is_file()]
    annotations = {p.stem: p for p in files if p.suffix.lower() in annotation_suffixes}
    slides = [p for p in files if p.suffix.lower() in SLIDE_SUFFIXES]
    return [(slide, annotations[slide.stem]) for slide in slides if slide.stem in annotations]
