"""MoNuSeg (Kumar et al. 2017, 2020) in its own layout: H&E tiles of 1000 x 1000 px with ImageScope XML.

``Tissue Images/<TCGA id>.tif`` with ``Annotations/<TCGA id>.xml`` (training data), or both in one folder (test data).
40x; the XML states um per px. The group is the patient: the first three fields of the TCGA barcode. Organs are those of
the papers' tables, by patient, for the files do not name them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qupath_sam.datasets.annotations import imagescope_mpp, read_imagescope
from qupath_sam.datasets.base import Dataset, by_stem, first_folder, read_rgb, without_partner
from qupath_sam.datasets.objects import Tile
from qupath_sam.datasets.painting import paint

#: Of training data (Kumar et al. 2017) and test data (Kumar et al. 2020), by patient. The six images that the papers
#: call liver are of patients with lung tumours by their TCGA projects; the papers' name is kept.
ORGANS = {
    patient: organ
    for organ, patients in {
        "breast": "A7-A13E A7-A13F AR-A1AK AR-A1AS E2-A1B5 E2-A14V AC-A2FO AO-A0J2",
        "kidney": "B0-5711 B0-5710 B0-5698 HE-7128 HE-7129 HE-7130 2Z-A9J9 GL-6846 IZ-8196",
        "liver": "18-5592 38-6178 49-4488 50-5931 21-5784 21-5786",
        "prostate": "G9-6336 G9-6348 G9-6356 G9-6362 G9-6363 CH-5767 EJ-A46H HC-7209",
        "bladder": "DK-A2I6 G2-A2EK CU-A0YN ZF-A9R5",
        "colon": "AY-A8YK NH-A8F7 A6-6782",
        "stomach": "KB-A93J RD-A8N9",
        "lung": "44-2665 69-7764",
        "brain": "FG-A4MU HT-8564",
    }.items()
    for patient in patients.split()
}


def recognises(root: Path) -> bool:
    """Return whether there are TIFF tiles with ImageScope files of the same names."""
    images, annotations = _files(root)
    paired = [annotations[stem] for stem in images if stem in annotations]
    return any(b"<Annotations" in xml.read_bytes()[:2048] for xml in paired[:1])


def read(root: Path) -> Dataset:
    """Read one tile for every image with an annotation file. Where nuclei overlap, the later one has the pixels."""
    root = root.resolve()
    images, annotations = _files(root)
    tiles = tuple(
        Tile(
            dataset=root.name,
            image_id=stem,
            group="-".join(stem.split("-")[:3]),
            organ=ORGANS.get("-".join(stem.split("-")[1:3]), ""),
            split=None,
            mpp=imagescope_mpp(annotations[stem]),
            read_pixels=partial(read_rgb, image),
            read_labels=partial(_read_nuclei, image, annotations[stem]),
        )
        for stem, image in images.items()
        if stem in annotations
    )
    places = _image_folder(root).name, _annotation_folder(root).name
    return Dataset(root.name, tiles, left_out=tuple(without_partner(images, annotations, folders=places)))


def _read_nuclei(image: Path, xml: Path) -> NDArray[np.integer]:
    with Image.open(image) as opened:
        width, height = opened.size
    return paint([o.area for o in read_imagescope(xml) if not o.negative], (height, width))


def _files(root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the images and annotation files by the names that pair them."""
    if not root.is_dir():
        return {}, {}
    return by_stem(_image_folder(root), (".tif", ".tiff")), by_stem(_annotation_folder(root), (".xml",))


def _image_folder(root: Path) -> Path:
    return first_folder(root, ("tissue images", "images")) or root


def _annotation_folder(root: Path) -> Path:
    return first_folder(root, ("annotations",)) or root
