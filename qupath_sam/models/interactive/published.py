"""The networks that the three houses published, by the names of the registry: what their files say in ``config``."""

from __future__ import annotations

from typing import Any

from qupath_sam.networks.interactive.config import NetworkConfig

_CLICKS = {"use_disks": True, "norm_radius": 5, "with_prev_mask": True}
_HRNET_CLICKS = {**_CLICKS, "with_aux_output": True, "use_leaky_relu": True, "use_rgb_conv": False}


def published_config(name: str) -> dict[str, Any]:
    """Return the ``config`` of a model's file.

    Raises:
        KeyError: no model of these houses.
    """
    path, params = _PUBLISHED[name]
    described = {key: {"type": "builtin", "value": value, "specified": True} for key, value in params.items()}
    return {"class": f"isegm.model.{path}", "params": described}


def published_network(name: str) -> NetworkConfig:
    """Build the network of a model; see `published_config`."""
    return NetworkConfig.read(published_config(name), has_refiner=name.startswith("focalclick"))


def _hrnet(width: int, ocr_width: int, *, small: bool = False, **more: Any) -> tuple[str, dict[str, Any]]:
    return "is_hrnet_model.HRNetModel", {
        **_HRNET_CLICKS, "width": width, "ocr_width": ocr_width, "small": small, **more
    }  # fmt: skip


def _segformer(version: str, pipeline: str) -> tuple[str, dict[str, Any]]:
    more = {"model_version": version, "pipeline_version": pipeline, "binary_prev_mask": False}
    return "is_segformer_model.SegFormerModel", {**_HRNET_CLICKS, **more}


def _plain_vit(channels: int, depth: int, heads: int, patch: int, outputs: list[int]) -> tuple[str, dict[str, Any]]:
    return "is_plainvit_model.PlainVitModel", {
        **_CLICKS,
        "random_split": False,
        "backbone_params": {
            "img_size": (448, 448),
            "patch_size": (patch, patch),
            "in_chans": 3,
            "embed_dim": channels,
            "depth": depth,
            "num_heads": heads,
            "mlp_ratio": 4,
            "qkv_bias": True,
        },
        "neck_params": {"in_dim": channels, "out_dims": outputs},
        "head_params": {
            "in_channels": outputs,
            "in_index": [0, 1, 2, 3],
            "dropout_ratio": 0.1,
            "num_classes": 1,
            "align_corners": False,
            "upsample": "x1",
            "channels": 256,
        },
    }


_PUBLISHED = {
    "ritm_hrnet18s": _hrnet(18, 48, small=True),
    "ritm_hrnet18": _hrnet(18, 64),
    "ritm_hrnet32": _hrnet(32, 128),
    "focalclick_hrnet18s_s1": _hrnet(18, 48, small=True, pipeline_version="s1"),
    "focalclick_hrnet18s_s2": _hrnet(18, 48, small=True, pipeline_version="s2"),
    "focalclick_hrnet32_s2": _hrnet(32, 128, pipeline_version="s2"),
    "focalclick_segformer_b0_s1": _segformer("b0", "s1"),
    "focalclick_segformer_b0_s2": _segformer("b0", "s2"),
    "focalclick_segformer_b3_s2": _segformer("b3", "s2"),
    "simpleclick_vit_b": _plain_vit(768, 12, 12, 16, [128, 256, 512, 1024]),
    "simpleclick_vit_l": _plain_vit(1024, 24, 16, 16, [192, 384, 768, 1536]),
    "simpleclick_vit_h": _plain_vit(1280, 32, 16, 14, [240, 480, 960, 1920]),
}
