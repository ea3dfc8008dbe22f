"""Folders as Hugging Face keeps them, of the smallest networks that the four classes of `transformers` can build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from qupath_sam.models.spec import Family

#: Side of the square that these networks take, px.
SIDE = 64
#: The same of SAM 3's tracker, whose patches are 14 px.
SAM3_SIDE = 56


def side_of(family: Family) -> int:
    """Side of the square that the family's network takes here, px."""
    return SAM3_SIDE if family is Family.SAM3_TRACKER else SIDE


def write_folder(family: Family, folder: Path, *, channels: int = 32) -> Path:
    """Save a random network; gives its weights file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _model(family, channels=channels)
        _fill(model)
    model.save_pretrained(folder)
    return folder / "model.safetensors"


def write_video_folder(family: Family, folder: Path) -> Path:
    """Save the video model round such a network, as SAM 2.1 and EdgeTAM are published; gives its weights file."""
    import transformers as t

    image = _model(family, channels=128).config
    name = {Family.SAM2: "Sam2Video", Family.EDGETAM: "EdgeTamVideo", Family.SAM3_TRACKER: "Sam3TrackerVideo"}[family]
    memory = {
        # The library's memory attention takes memories of 64 channels and no others.
        "memory_attention_hidden_size": 128, "memory_attention_feed_forward_hidden_size": 32,
        "memory_attention_num_layers": 2, "memory_encoder_hidden_size": 128, "memory_encoder_output_channels": 64,
        "mask_downsampler_embed_dim": 128, "memory_fuser_embed_dim": 128, "memory_fuser_intermediate_dim": 32,
        "memory_fuser_num_layers": 1, "memory_attention_rope_feat_sizes": [4, 4],
    }  # fmt: skip
    if family is Family.EDGETAM:
        memory |= {
            "memory_attention_rope_k_sizes": [2, 2], "perceiver_resampler_num_latents": 4,
            "perceiver_resampler_num_latents_2d": 4, "perceiver_resampler_mlp_intermediate_size": 32,
        }  # fmt: skip
    config = getattr(t, f"{name}Config")(
        vision_config=image.vision_config.to_dict(),
        prompt_encoder_config=image.prompt_encoder_config.to_dict(),
        mask_decoder_config=image.mask_decoder_config.to_dict(),
        image_size=side_of(family),
        **memory,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(t, f"{name}Model")(config)
        _fill(model)
        _make_sure(model)
    model.save_pretrained(folder)
    return folder / "model.safetensors"


@torch.no_grad()
def _fill(model: torch.nn.Module) -> None:
    """Make parameters that begin as zeros or ones say something."""
    for parameter in model.parameters():
        if parameter.dim() < 2:
            parameter.add_(0.1 * torch.randn(parameter.shape))
        elif not parameter.any():
            parameter.normal_(0, 0.1)


@torch.no_grad()
def _make_sure(model: torch.nn.Module) -> None:
    """Let a video model see an object on every plane, and its memory weigh in its answer."""
    for name, parameter in model.named_parameters():
        if name == "mask_decoder.pred_obj_score_head.proj_out.bias":
            parameter.fill_(10.0)
        elif name.startswith(("memory_", "mask_decoder.")) and parameter.dim() > 1:
            parameter.mul_(4)


def _model(family: Family, *, channels: int = 32) -> Any:
    import transformers as t

    prompts = {"hidden_size": channels, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 8}
    decoder = {"hidden_size": channels, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    match family:
        case Family.SAM_HQ:
            vision = {
                "hidden_size": 16, "output_channels": 32, "num_hidden_layers": 4, "num_attention_heads": 2,
                "image_size": SIDE, "patch_size": 16, "window_size": 2, "global_attn_indexes": [1, 3], "mlp_dim": 32,
                "num_pos_feats": 16,
            }  # fmt: skip
            own = {**decoder, "vit_dim": 16}
            return t.SamHQModel(
                t.SamHQConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=own)
            )
        case Family.SAM2:
            backbone = t.Sam2HieraDetConfig(
                hidden_size=8, num_attention_heads=1, image_size=[SIDE, SIDE], blocks_per_stage=[1, 1, 2, 1],
                embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads_per_stage=[1, 2, 4, 8],
                window_size_per_stage=[2, 2, 2, 2], global_attention_blocks=[3],
                window_positional_embedding_background_size=[2, 2],
            )  # fmt: skip
            vision_config = t.Sam2VisionConfig(
                backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=channels,
                backbone_feature_sizes=[[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2],
            )  # fmt: skip
            return t.Sam2Model(
                t.Sam2Config(vision_config=vision_config, prompt_encoder_config=prompts, mask_decoder_config=decoder)
            )
        case Family.EDGETAM:
            # The published backbone, on a smaller image: timm builds it without weights.
            backbone = t.TimmWrapperConfig(
                architecture="repvit_m1",
                model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
            )
            vision_config = t.EdgeTamVisionConfig(
                backbone_config=backbone, fpn_hidden_size=channels,
                backbone_feature_sizes=[[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2],
            )  # fmt: skip
            return t.EdgeTamModel(
                t.EdgeTamConfig(vision_config=vision_config, prompt_encoder_config=prompts, mask_decoder_config=decoder)
            )
        case Family.SAM3_TRACKER:
            backbone = t.Sam3ViTConfig(
                hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                image_size=SAM3_SIDE, patch_size=14, window_size=2, global_attn_indexes=[1], pretrain_image_size=28,
            )  # fmt: skip
            cells = SAM3_SIDE // 14
            vision_config = t.Sam3VisionConfig(
                backbone_config=backbone, fpn_hidden_size=channels,
                backbone_feature_sizes=[[4 * cells] * 2, [2 * cells] * 2, [cells] * 2],
            )  # fmt: skip
            own = {**prompts, "image_size": SAM3_SIDE, "patch_size": 14}
            return t.Sam3TrackerModel(
                t.Sam3TrackerConfig(vision_config=vision_config, prompt_encoder_config=own, mask_decoder_config=decoder)
            )
        case _:
            raise ValueError(family)
