"""Clicks as these networks see them: discs round pixel indices, one map for each sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

#: ImageNet's mean and standard deviation of RGB in 0..1: all these networks normalise inside.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
#: Squared distance to a click where there is none.
_FAR = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class PixelClicks:
    """Clicks in pixel indices of one image: the centre of the first pixel is (0, 0).

    Attributes:
        places: fp32 ``(N, 2)``, row then column, on the image's device.
        positive: bool ``(N,)``.
    """

    places: Tensor
    positive: Tensor

    def __len__(self) -> int:
        return len(self.places)

    def mapped(self, origin: tuple[float, float], scale: tuple[float, float]) -> PixelClicks:
        """Return the click in a scaled part of the image that begins at ``origin``: ``(place - origin) * scale``.

        Indices are scaled as they are, without regard to pixels' centres, as the authors' code does.
        """
        shift, factor = (torch.tensor(pair, device=self.places.device) for pair in (origin, scale))
        return replace(self, places=(self.places - shift) * factor)

    def flipped(self, width: int) -> PixelClicks:
        """Return the click in the image mirrored left to right."""
        return replace(self, places=torch.stack([self.places[:, 0], width - 1 - self.places[:, 1]], dim=1))


@dataclass(frozen=True, slots=True)
class ClickEncoding:
    """How a network sees clicks: maps of discs or of distances.

    Attributes:
        radius: px; of the discs, or what distances are measured in.
        discs: 1 within the radius and 0 outside; else ``tanh`` of twice the distance.
    """

    radius: float = 5
    discs: bool = True


def click_maps(clicks: Sequence[PixelClicks], size: tuple[int, int], encoding: ClickEncoding) -> Tensor:
    """Draw ``(B, 2, height, width)``: the positive clicks' map, then the negative ones', of B images of one size."""
    return torch.stack(
        [
            torch.stack([_map(each.places[each.positive == sign], size, encoding) for sign in (True, False)])
            for each in clicks
        ]
    )


def normalised(image: Tensor) -> Tensor:
    """Return RGB ``(B, 3, H, W)`` in 0..1 as ImageNet's networks expect it."""
    mean, std = (torch.tensor(values, device=image.device).view(1, 3, 1, 1) for values in (_MEAN, _STD))
    return (image - mean) / std


def _map(places: Tensor, size: tuple[int, int], encoding: ClickEncoding) -> Tensor:
    height, width = size
    rows = torch.arange(height, device=places.device, dtype=torch.float32)[:, None]
    columns = torch.arange(width, device=places.device, dtype=torch.float32)[None, :]
    nearest = torch.full((height, width), _FAR, device=places.device)
    for row, column in places.tolist():
        nearest = torch.minimum(nearest, (rows - row) ** 2 + (columns - column) ** 2)
    if encoding.discs:
        return (nearest <= encoding.radius**2).float()
    # Where there is no click the authors put a million after dividing by the radius: tanh makes it 1 either way.
    return torch.tanh(2 * nearest.sqrt() / encoding.radius)
