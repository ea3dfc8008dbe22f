"""What the engine says of images and models, for clients and for the server alike."""

from __future__ import annotations

from qupath_sam.engine.model_choice import COARSE_MPP
from qupath_sam.engine.pool import ModelPool
from qupath_sam.engine.windows import Scales
from qupath_sam.models.registry import AUTO, REGION_MODEL
from qupath_sam.models.weights.store import ModelStore
from qupath_sam.slides.base import SlideInfo
from qupath_sam.types.service import ImageDescription, ModelInfo


def describe_image(info: SlideInfo, scales: Scales) -> ImageDescription:
    """Return what is known of an image, and the scales at which the default model may look at it."""
    return ImageDescription(
        width=info.width,
        height=info.height,
        mpp=info.mpp,
        level_downsamples=tuple(level.downsample for level in info.levels),
        fingerprint=info.fingerprint,
        pixel_source=info.reader,
        remarks=tuple(info.all_remarks),
        scales=scales.downsamples,
        channels=tuple(info.channels),
        size_z=info.depth,
        size_t=info.times,
    )


def describe_models(store: ModelStore, pool: ModelPool) -> list[ModelInfo]:
    """Return the models that this machine knows, the default first, and the choice by scale last."""
    loaded, automatic = pool.loaded(), pool.automatic_objects()
    return [
        ModelInfo(
            name=spec.name,
            family=spec.family.value,
            title=spec.title,
            input_size=spec.capabilities.input_size,
            mask_count=spec.capabilities.mask_count,
            weights_sha256=(spec.weights.sha256 or "") if spec.weights is not None else "",
            licence=str(spec.licence),
            loaded=spec.name in loaded,
            available=spec.weights is None or store.is_present(spec),
            automatic_objects=automatic.get(spec.name, ()),
        )
        for spec in sorted(store.models().values(), key=lambda spec: spec.name != pool.default)
    ] + [choice_by_scale(store, pool)]


def choice_by_scale(store: ModelStore, pool: ModelPool) -> ModelInfo:
    """Return what a call may name in place of a model: see `qupath_sam.engine.model_choice`."""
    default, regions = store.find(pool.default), store.find(REGION_MODEL)
    return ModelInfo(
        name=AUTO,
        family="",
        title=f"{regions.name} in views of {COARSE_MPP} um per px and more, else {default.name}",
        input_size=default.capabilities.input_size,
        mask_count=default.capabilities.mask_count,
        weights_sha256="",
        licence=str(regions.licence),
        loaded=default.name in pool.loaded(),
        available=all(spec.weights is None or store.is_present(spec) for spec in (default, regions)),
        automatic_objects=pool.automatic_objects().get(default.name, ()),
    )
