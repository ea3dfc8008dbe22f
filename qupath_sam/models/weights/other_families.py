"""Networks that this package does not run, known by the names of their tensors, each with what to do about it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

_OURS = "use a checkpoint of SAM, MobileSAM, MedSAM or LiteMedSAM (see `qupath-sam models list`)"
_FOLDER = "pull the folder that Hugging Face has of it instead (`qupath-sam models pull {}`)"
_PULL = "pull the original instead (`qupath-sam models pull sam_vit_b`)"

#: Beginnings of keys, behind whatever a wrapper puts before them, and what has them; the first match counts.
_BEGINNINGS = (
    (
        ("detector.", "detector_model.", "tracker_model.", "tracker.", "tracker_neck."),
        "SAM 3 in its authors' layout",
        _FOLDER.format("sam3_tracker"),
    ),
    (
        (
            "image_encoder.trunk.",
            "sam_mask_decoder.",
            "memory_encoder.",
            "memory_attention.",
            "vision_encoder.backbone.",
        ),
        "SAM 2 in its authors' layout (or a model made of it, such as MedSAM2)",
        _FOLDER.format("sam2_1_tiny"),
    ),
    (("vision_encoder.", "shared_image_embedding."), "SAM in the layout of Hugging Face's transformers", _PULL),
    (("image_encoder.stages.",), "EdgeSAM or RepViT-SAM", _OURS),
    (("image_encoder.backbone.",), "EfficientViT-SAM", _OURS),
    (("diam_mean", "diam_labels"), "Cellpose", _OURS),
)
_HQ = ("hf_token", "hf_mlp", "compress_vit_feat", "embedding_encoder", "embedding_maskfeature")
_LORA = ("lora_", "linear_a_q", "linear_b_q", "w_a_", "w_b_", "lora_A", "lora_B")
_ADAPTERS = ("Adapter", "adapter")
_MERGE = (
    "merge them into the model that they were trained on (peft: merge_and_unload(); else weight + scale * B @ A), save "
    "its state_dict() by torch.save, and add that file"
)


def other_family(tensors: Mapping[str, Tensor]) -> str:
    """Return which other model a state dict is of, and what to do: part of a sentence, empty where it is unknown."""
    components = {component for key in tensors for component in key.split(".")}
    if any(component.startswith(_LORA) for component in components):
        return f"these are LoRA factors, or a model that still holds them; {_MERGE}"
    for beginnings, name, remedy in _BEGINNINGS:
        if any(f".{beginning}" in f".{key}" for beginning in beginnings for key in tensors):
            return f"this is {name}, which qupath-sam does not run; {remedy}"
    if any(component in _HQ for component in components):
        return f"this is SAM-HQ in its authors' layout, which qupath-sam does not run; {_FOLDER.format('sam_hq_vit_b')}"
    if any(part in component for component in components for part in _ADAPTERS):
        return f"this is SAM with adapters between its layers, which qupath-sam does not run; {_OURS}"
    patches = tensors.get("image_encoder.patch_embed.proj.weight")
    if patches is not None and patches.shape[0] in (192, 384):
        return f"this is EfficientSAM, which qupath-sam does not run; {_OURS}"
    return _of_parts(tensors)


def _of_parts(keys: Collection[str]) -> str:
    """Name a file that holds one part of a model alone."""
    has = {
        part: any(f".{part}." in f".{key}" for key in keys)
        for part in ("image_encoder", "prompt_encoder", "mask_decoder")
    }
    bare = any(key.startswith(("patch_embed.", "blocks.", "neck.", "layers.")) for key in keys)
    whole = "add the file of the whole model, with its prompt encoder and mask decoder"
    if has["image_encoder"] and not has["mask_decoder"] and not has["prompt_encoder"]:
        return f"this is an image encoder alone; {whole}"
    if bare and not any(has.values()):
        return f"this is an image encoder alone, as pathology foundation models are; {whole}"
    if has["mask_decoder"] and not has["image_encoder"]:
        return "this is a mask decoder without its image encoder; add the file of the whole model"
    return ""
