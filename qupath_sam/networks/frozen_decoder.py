"""SAM's mask decoder made ready for inference: the same function in fewer and larger products.

Tokens are few (about ten) and image cells many (4096), so each product with the cells takes the tokens first:

- Attention of tokens to the image: ``(Q W_q)_h ((K + P) W_k)_h^T`` is computed as ``((Q W_q)_h W_k,h^T) (K + P)^T``,
  and ``A_h (K W_v)_h`` as ``(A_h K) W_v,h``: nothing of the image is projected.
- Attention of the image to tokens: the same from the other side; the output projection is applied to the values of
  the tokens, not to the cells.
- A transposed convolution of kernel and stride 2 is a linear layer on each cell. Four and then sixteen outputs of a
  cell stay together until the masks are made; only these are put in order.

At nine tokens that takes 2.3 instead of 3.6 GFLOP, and half the time on a processor. With every token it takes more;
above `MOST_TOKENS` the decoder answers as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qupath_sam.networks.mask_decoder import FEATURE_CHANNELS, Decoded, SamMaskDecoder
from qupath_sam.networks.sam_parts import Attention, TwoWayAttentionBlock

#: Cells a side of the embedding; outputs a side of one cell.
_CELLS, _OUTPUTS = 64, 4
#: Tokens (the decoder's five, the prompt's and SAM's padding) up to which this order of products is the quicker one.
MOST_TOKENS = 32


class FrozenMaskDecoder(nn.Module):
    """The inference form of a `SamMaskDecoder`; gives its answers, up to rounding. It cannot be trained.

    Args:
        decoder: with its weights, which are shared as far as they are used unchanged. It is kept for many tokens.
        position: of the cells, ``(1, 256, 64, 64)``: the prompt encoder's ``get_dense_pe()``.
    """

    def __init__(self, decoder: SamMaskDecoder, position: Tensor) -> None:
        super().__init__()
        self.original = decoder
        self.position = _kept(cells_of(position))
        self.own_tokens = _kept(torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])[None])
        transformer = decoder.transformer
        self.layers = nn.ModuleList(FrozenBlock(cast("TwoWayAttentionBlock", layer)) for layer in transformer.layers)
        self.final = TokenToImage(transformer.final_attn_token_to_image)
        self.final_norm = transformer.norm_final_attn
        first, norm, _, second, _ = decoder.output_upscaling
        self.up1, self.up2 = _on_cells(first), _on_cells(second)
        self.norm = _over_channels(norm)
        self.hyper, self.hyper_bias = _side_by_side([mlp.layers for mlp in decoder.output_hypernetworks_mlps])
        self.scores = decoder.iou_prediction_head
        self.requires_grad_(False)
        #: Runs `forward` in another way, for one prompt; its answers may be overwritten by its next call.
        self.compiled: Callable[[Tensor, Tensor], Sequence[Tensor]] | None = None

    def decode(self, embedding: Tensor, sparse: Tensor, dense: Tensor, *, dense_position: Tensor) -> Decoded:
        """See `DecodesMasks.decode`: four masks."""
        if self.own_tokens.shape[1] + sparse.shape[1] > MOST_TOKENS:
            return self.original.decode(embedding, sparse, dense, dense_position=dense_position)
        cells = cells_of(embedding + dense)
        run = self if self.compiled is None or len(sparse) > 1 else self.compiled
        logits, scores, features = run(cells, sparse)
        # Copies, all three.
        return Decoded(in_order(logits), scores.clone(), in_order(features))

    def forward(self, cells: Tensor, sparse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits ``(B, 65536, 4)``, scores ``(B, 4)`` and features ``(B, 65536, FEATURE_CHANNELS)``.

        Args:
            cells: ``(B, 4096, 256)``, embedding and dense prompt together, see `cells_of`.
            sparse: ``(B, N, 256)``.

        Returns:
            Logits and features by cell, 16 outputs each; see `in_order`.
        """
        asked = torch.cat([self.own_tokens.expand(len(sparse), -1, -1), sparse], dim=1)
        tokens = asked
        for layer in self.layers:
            tokens, cells = layer(tokens, cells, asked, self.position)
        tokens = self.final_norm(tokens + self.final(tokens + asked, cells + self.position, cells))
        features = self._features(cells)
        return features @ self._mask_weights(tokens).transpose(1, 2), self.scores(tokens[:, 0]), features

    def _features(self, cells: Tensor) -> Tensor:
        """Map ``(B, 4096, 256)`` to ``(B, 65536, FEATURE_CHANNELS)``: the 16 outputs of each cell together."""
        count = len(cells)
        quarter = F.gelu(self.norm(self.up1(cells).view(count, -1, self.norm.normalized_shape[0])))
        return F.gelu(self.up2(quarter)).view(count, -1, FEATURE_CHANNELS)

    def _mask_weights(self, tokens: Tensor) -> Tensor:
        """Map ``(B, T, 256)`` to ``(B, 4, FEATURE_CHANNELS)``, all masks at once."""
        masks = self.own_tokens.shape[1] - 1
        x = tokens[:, 1 : 1 + masks].transpose(0, 1)
        for index, (weight, bias) in enumerate(zip(self.hyper, self.hyper_bias, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if index < len(self.hyper) - 1:
                x = F.relu(x)
        return x.transpose(0, 1)


class FrozenBlock(nn.Module):
    """The inference form of a `TwoWayAttentionBlock`."""

    def __init__(self, block: TwoWayAttentionBlock) -> None:
        super().__init__()
        self.first = bool(block.skip_first_layer_pe)
        self.self_attention = block.self_attn
        self.norm1, self.norm2, self.norm3, self.norm4 = block.norm1, block.norm2, block.norm3, block.norm4
        self.to_image = TokenToImage(block.cross_attn_token_to_image)
        self.mlp = block.mlp
        self.to_tokens = ImageToToken(block.cross_attn_image_to_token)

    def forward(self, tokens: Tensor, cells: Tensor, asked: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Map tokens ``(B, T, 256)`` and cells ``(B, 4096, 256)`` to the same.

        Args:
            asked: the tokens before the first block, added as their position.
            position: ``(1, 4096, 256)``.
        """
        if self.first:
            tokens = self.norm1(self.self_attention(q=tokens, k=tokens, v=tokens))
        else:
            query = tokens + asked
            tokens = self.norm1(tokens + self.self_attention(q=query, k=query, v=tokens))
        placed = cells + position
        tokens = self.norm2(tokens + self.to_image(tokens + asked, placed, cells))
        tokens = self.norm3(tokens + self.mlp(tokens))
        cells = self.norm4(cells + self.to_tokens(placed, tokens + asked, tokens))
        return tokens, cells


class TokenToImage(nn.Module):
    """Attention in which the image cells are keys and values."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads = attention.num_heads
        width = attention.internal_dim // self.heads
        self.query = _scaled(attention.q_proj, 1 / math.sqrt(width))
        # A key's bias adds the same to a query's product with every cell: nothing to a softmax.
        self.key = _kept(attention.k_proj.weight.view(self.heads, width, -1))
        self.value = _kept(attention.v_proj.weight.view(self.heads, width, -1).transpose(1, 2).contiguous())
        self.value_bias = _kept(attention.v_proj.bias.view(self.heads, 1, width))
        self.out = attention.out_proj

    def forward(self, query: Tensor, placed: Tensor, cells: Tensor) -> Tensor:
        """Return ``(B, T, 256)`` of tokens ``(B, T, 256)``, cells with their position, and cells ``(B, 4096, 256)``."""
        count, tokens, _ = query.shape
        heads = _by_head(self.query(query), self.heads)
        towards = (heads @ self.key).flatten(1, 2)
        weights = (towards @ placed.transpose(1, 2)).softmax(dim=-1)
        seen = (weights @ cells).view(count, self.heads, tokens, -1) @ self.value + self.value_bias
        attended: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return attended


class ImageToToken(nn.Module):
    """Attention in which the tokens are keys and values."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads = attention.num_heads
        width = attention.internal_dim // self.heads
        query = _scaled(attention.q_proj, 1 / math.sqrt(width))
        self.query = _kept(query.weight.view(self.heads, width, -1))
        self.query_bias = _kept(query.bias.view(self.heads, width, 1))
        self.key, self.value = attention.k_proj, attention.v_proj
        self.out = _kept(attention.out_proj.weight.view(-1, self.heads, width).permute(1, 2, 0).contiguous())
        self.out_bias = _kept(attention.out_proj.bias)

    def forward(self, placed: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return ``(B, 4096, 256)`` from cells with their position and from tokens ``(B, T, 256)``."""
        count, tokens, _ = key.shape
        keys = _by_head(self.key(key), self.heads)
        towards, same = (keys @ self.query).flatten(1, 2), (keys @ self.query_bias).flatten(1, 2)
        # Cells last: a softmax over few tokens is quick across rows and slow along them.
        products = torch.baddbmm(same, towards, placed.transpose(1, 2)).view(count, self.heads, tokens, -1)
        weights = products.softmax(dim=2).flatten(1, 2)
        answers = (_by_head(self.value(value), self.heads) @ self.out).flatten(1, 2)
        return torch.baddbmm(self.out_bias, weights.transpose(1, 2), answers)


def _by_head(x: Tensor, heads: int) -> Tensor:
    """Map ``(B, T, C)`` to ``(B, heads, T, C / heads)``."""
    count, tokens, channels = x.shape
    return x.view(count, tokens, heads, channels // heads).transpose(1, 2)


def cells_of(maps: Tensor) -> Tensor:
    """Map ``(B, 256, 64, 64)`` to ``(B, 4096, 256)``; costs nothing where maps lie in channels-last order."""
    return maps.flatten(2).transpose(1, 2).contiguous()


def in_order(outputs: Tensor) -> Tensor:
    """Map ``(B, 65536, C)``, 16 outputs of each cell one after the other, to ``(B, C, 256, 256)``, channels last."""
    count, _, channels = outputs.shape
    # A cell's outputs are numbered by the first layer's row and column, then the second's.
    apart = outputs.view(count, _CELLS, _CELLS, 2, 2, 2, 2, channels).permute(0, 1, 3, 5, 2, 4, 6, 7)
    side = _CELLS * _OUTPUTS
    return apart.reshape(count, side, side, channels).permute(0, 3, 1, 2)


def _on_cells(layer: nn.Module) -> nn.Linear:
    """Return a transposed convolution of kernel and stride 2 as a linear layer: row, column, output channel last."""
    layer = cast("nn.ConvTranspose2d", layer)
    inputs, outputs = layer.weight.shape[:2]
    return _linear(layer.weight.permute(2, 3, 1, 0).reshape(4 * outputs, inputs), cast("Tensor", layer.bias).repeat(4))


def _over_channels(norm: nn.Module) -> nn.LayerNorm:
    """Return a `LayerNorm2d` for channels that come last."""
    weight, bias = cast("Tensor", norm.weight), cast("Tensor", norm.bias)
    layer = nn.LayerNorm(len(weight), eps=cast("float", norm.eps))
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def _side_by_side(layers: list[nn.ModuleList]) -> tuple[nn.ParameterList, nn.ParameterList]:
    """Stack weights and biases of M networks of equal linear layers, layer by layer: ``(M, inputs, outputs)``."""
    by_layer = list(zip(*layers, strict=True))
    weights = nn.ParameterList(_kept(torch.stack([each.weight.T for each in same])) for same in by_layer)
    return weights, nn.ParameterList(_kept(torch.stack([each.bias[None] for each in same])) for same in by_layer)


def _scaled(linear: nn.Linear, factor: float) -> nn.Linear:
    return _linear(linear.weight * factor, linear.bias * factor)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    outputs, inputs = weight.shape
    # On the meta device: weights that are replaced at once need no random numbers.
    linear = nn.Linear(inputs, outputs, device="meta")
    linear.weight, linear.bias = _kept(weight), _kept(bias)
    return linear


def _kept(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach(), requires_grad=False)
