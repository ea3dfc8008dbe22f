"""The mask decoder for histology of Kim et al. 2023.

"Evaluation and improvement of Segment Anything Model for interactive histopathology image segmentation", sec. 2.3 and
Fig. 2(c). Rebuilt from the text: its code was never released.

After SAM's two-way transformer the image embedding passes a global self-attention layer, two `UpConvBlock` and a
`ConvBlock`; a 1 x 1 convolution makes the mask, where SAM takes the product with an output token. The transformer, the
tokens and the IoU head are SAM's and start from its weights. It adds 1.5 M parameters.

The text leaves open: attention has a shortcut, the dense position encoding added to queries and keys, and one head, as
eight make the decoder half as slow again on a CPU; a block's shortcut is a 1 x 1 convolution round its two 3 x 3
convolutions, as these halve the channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qupath_sam.networks.mask_decoder import FEATURE_CHANNELS, Decoded, two_way_transformer
from qupath_sam.networks.sam_parts import MLP

_CHANNELS = 256
#: As in SAM's decoder, so that its tokens and IoU head fit. Only the first is for this decoder's one mask.
_MASK_TOKENS = 4

#: Logits of attention further than this below a cell's highest count as this far: a weight of e**-60 changes
#: nothing. Smaller ones cost time: once trained, one in 25 was below 1e-38, and x86 processors are so slow with such
#: numbers that a click took twice as long.
_WIDEST_SPREAD = 60.0

#: Parts of SAM's mask decoder that this one does without.
REPLACED_PARTS = ("output_upscaling.", "output_hypernetworks_mlps.")
#: Parts of this one that SAM's has not.
ADDED_PARTS = ("global_attention.", "blocks.", "output.")


class GlobalSelfAttention(nn.Module):
    """Every cell of the image embedding attends to every other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.projection = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """Map ``(B, cells, channels)``, with the position encoding ``(1, cells, channels)``, to the same shape."""
        placed = tokens + position
        attended = attention(self.query(placed), self.key(placed), self.value(tokens))
        output: Tensor = self.norm(tokens + self.projection(attended))
        return output


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute the attention of one head, each ``(B, cells, channels)``.

    On a CPU torch's fused attention takes twice as long.
    """
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value)
    attended: Tensor = _weights(query, key) @ value
    return attended


def _weights(query: Tensor, key: Tensor) -> Tensor:
    """Return ``(B, cells, cells)``, each row of which sums to 1."""
    scaled = query * query.shape[-1] ** -0.5  # there are 16 times as many weights
    similarity = scaled @ key.transpose(-2, -1)
    if similarity.dtype == torch.float32:  # bf16 products take numbers too small for 0 by themselves
        with torch.no_grad():  # what is bounded here has no weight, and so no gradient to speak of
            similarity.clamp_(min=similarity.amax(-1, keepdim=True) - _WIDEST_SPREAD)
    weights: Tensor = similarity.softmax(-1)
    return weights


class InstanceNorm(nn.InstanceNorm2d):
    """Each channel of each image to mean 0 and variance 1, then scaled and shifted.

    Of one image batch normalisation is the same, and unlike torch's instance normalisation leaves channels-last memory
    as it is: the blocks train more than twice as fast.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` to the same."""
        if len(input) > 1:
            return super().forward(input)
        return F.batch_norm(input, None, None, self.weight, self.bias, training=True, eps=self.eps)


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions, the second of which halves the channels, with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = InstanceNorm(channels, affine=True)
        self.conv2 = nn.Conv2d(channels, half, 3, padding=1)
        self.norm2 = InstanceNorm(half, affine=True)
        self.shortcut = nn.Conv2d(channels, half, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` to ``(B, channels / 2, H, W)``."""
        y = F.gelu(self.norm1(self.conv1(x)))
        return F.gelu(self.norm2(self.conv2(y)) + self.shortcut(x))


class UpConvBlock(ConvBlock):
    """`ConvBlock`, then a 2 x 2 up-convolution that doubles the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        half = channels // 2
        self.up = nn.ConvTranspose2d(half, half, 2, stride=2)
        self.norm3 = InstanceNorm(half, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` to ``(B, channels / 2, 2 H, 2 W)``."""
        return F.gelu(self.norm3(self.up(super().forward(x))))


class HistologyMaskDecoder(nn.Module):
    """See the module. One mask, whose features can feed a refinement head as SAM's do."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = two_way_transformer()
        self.iou_token = nn.Embedding(1, _CHANNELS)
        self.mask_tokens = nn.Embedding(_MASK_TOKENS, _CHANNELS)
        self.iou_prediction_head = MLP(_CHANNELS, 256, _MASK_TOKENS, 3)
        self.global_attention = GlobalSelfAttention(_CHANNELS)
        self.blocks = nn.Sequential(
            UpConvBlock(_CHANNELS), UpConvBlock(_CHANNELS // 2), ConvBlock(2 * FEATURE_CHANNELS)
        ).to(memory_format=torch.channels_last)  # as the transformer's answer is
        self.output = nn.Conv2d(FEATURE_CHANNELS, 1, 1)

    def decode(self, embedding: Tensor, sparse: Tensor, dense: Tensor, *, dense_position: Tensor) -> Decoded:
        """See `DecodesMasks.decode`: one mask."""
        image = embedding + dense
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])[None].expand(len(sparse), -1, -1)
        tokens, image_tokens = self.transformer(image, dense_position, torch.cat([own, sparse], dim=1))
        image_tokens = self.global_attention(image_tokens, dense_position.flatten(2).transpose(1, 2))
        features = self.blocks(image_tokens.transpose(1, 2).reshape(image.shape))
        return Decoded(self.output(features), self.iou_prediction_head(tokens[:, 0])[:, :1], features)
