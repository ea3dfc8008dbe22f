"""The networks that SAM-HQ, SAM 2.1, EdgeTAM and SAM 3 published, by the names of the registry, without their weights.

Sizes as in the authors' papers and configs: SAM's ViTs (Kirillov et al. 2023, appendix A), Hiera (Ravi et al. 2024,
appendix C), EdgeTAM's RepViT-M1 (Zhou et al. 2025), SAM 3's Perception Encoder (`transformers`' own defaults).
"""

from __future__ import annotations

from typing import Any

#: Of a ViT: channels, layers, heads, layers with global attention.
_VITS = {
    "sam_hq_vit_b": (768, 12, 12, [2, 5, 8, 11]),
    "sam_hq_vit_l": (1024, 24, 16, [5, 11, 17, 23]),
    "sam_hq_vit_h": (1280, 32, 16, [7, 15, 23, 31]),
}
#: Of a Hiera: channels, heads, blocks of its four stages, their windows, blocks with global attention, and the side of
#: the position embedding's background.
_HIERAS = {
    "sam2_1_tiny": (96, 1, [1, 2, 7, 2], [8, 4, 14, 7], [5, 7, 9], 7),
    "sam2_1_small": (96, 1, [1, 2, 11, 2], [8, 4, 14, 7], [7, 10, 13], 7),
    "sam2_1_base_plus": (112, 2, [2, 3, 16, 3], [8, 4, 14, 7], [12, 16, 20], 14),
    "sam2_1_large": (144, 2, [2, 6, 36, 4], [8, 4, 16, 8], [23, 33, 43], 7),
}


def published_network(name: str) -> Any:
    """Build the model of `transformers` with random weights, in fp32 on the CPU.

    Raises:
        KeyError: no model of these families.
        ImportError: the extra ``[transformers]`` is not installed.
    """
    import transformers as t

    vision: Any
    backbone: Any
    if name in _VITS:
        channels, layers, heads, whole = _VITS[name]
        vision = {
            "hidden_size": channels,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "global_attn_indexes": whole,
            "mlp_dim": 4 * channels,
        }
        return t.SamHQModel(t.SamHQConfig(vision_config=vision, mask_decoder_config={"vit_dim": channels}))
    if name in _HIERAS:
        channels, heads, blocks, windows, whole, background = _HIERAS[name]
        widths = [channels * 2**stage for stage in range(4)]
        backbone = t.Sam2HieraDetConfig(
            hidden_size=channels,
            num_attention_heads=heads,
            blocks_per_stage=blocks,
            embed_dim_per_stage=widths,
            num_attention_heads_per_stage=[heads * 2**stage for stage in range(4)],
            window_size_per_stage=windows,
            global_attention_blocks=whole,
            window_positional_embedding_background_size=[background, background],
        )
        vision = t.Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=widths[::-1])
        return t.Sam2Model(t.Sam2Config(vision_config=vision))
    if name == "edgetam":
        backbone = t.TimmWrapperConfig(
            architecture="repvit_m1",
            model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
        )
        return t.EdgeTamModel(t.EdgeTamConfig(vision_config=t.EdgeTamVisionConfig(backbone_config=backbone)))
    if name == "sam3_tracker":
        return t.Sam3TrackerModel(t.Sam3TrackerConfig())
    raise KeyError(name)
