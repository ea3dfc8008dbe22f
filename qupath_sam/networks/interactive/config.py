"""What a checkpoint of the three houses says of its network, and the network that fits.

Their files are dicts ``{state_dict, config}``, where ``config`` names a class by its dotted path and its arguments as
``{name: {type, value, specified}}``. The path is looked up in a table here; nothing is imported by it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qupath_sam.networks.interactive.clicks import ClickEncoding
from qupath_sam.networks.interactive.hrnet import HighResolutionNet
from qupath_sam.networks.interactive.models import (
    ClickInput,
    ClickNetwork,
    FocalNetwork,
    RitmNetwork,
    SimpleClickNetwork,
)
from qupath_sam.networks.interactive.plain_vit import PlainVitSize
from qupath_sam.networks.interactive.segformer import SegFormer, SegFormerSize

_HRNET = "isegm.model.is_hrnet_model.HRNetModel"
_SEGFORMER = "isegm.model.is_segformer_model.SegFormerModel"
_PLAIN_VIT = "isegm.model.is_plainvit_model.PlainVitModel"
#: Radius of the clicks in FocalClick's coarse answer at half size ("s1"), by backbone, and at full size.
_S1_RADIUS, _S2_RADIUS = {_HRNET: 2, _SEGFORMER: 3}, 5


class House(enum.Enum):
    """Whose rules a network is used by."""

    RITM = "ritm"
    FOCALCLICK = "focalclick"
    SIMPLECLICK = "simpleclick"


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """A network as its checkpoint describes it.

    Attributes:
        house: whose it is; two houses name their class alike, and one of them has a refiner.
        class_path: dotted.
        params: arguments by name, defaults included.
    """

    house: House
    class_path: str
    params: Mapping[str, Any]

    @classmethod
    def read(cls, config: Any, *, has_refiner: bool) -> NetworkConfig:
        """Read the network of a checkpoint's ``config``.

        Args:
            config: as it was saved.
            has_refiner: whether the checkpoint has a refiner's weights.

        Raises:
            ValueError: no network that is known here; says which are.
        """
        try:
            path = str(config["class"])
            params = {str(name): each["value"] for name, each in config["params"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"its config is none of RITM's, FocalClick's or SimpleClick's ({error!r})") from error
        if path not in (_HRNET, _SEGFORMER, _PLAIN_VIT):
            raise ValueError(f"its network is {path}; known: {_HRNET}, {_SEGFORMER}, {_PLAIN_VIT}")
        if path == _PLAIN_VIT:
            return cls(House.SIMPLECLICK, path, params)
        is_focal = path == _SEGFORMER or has_refiner or "pipeline_version" in params
        return cls(House.FOCALCLICK if is_focal else House.RITM, path, params)

    def build(self) -> ClickNetwork:
        """Build the network without its weights, on the current default device.

        Raises:
            ValueError: an argument is missing, or of a kind that is not hosted here.
        """
        try:
            match self.house:
                case House.RITM:
                    return self._ritm()
                case House.FOCALCLICK:
                    return self._focalclick()
                case House.SIMPLECLICK:
                    return SimpleClickNetwork(self._plain_vit_size(), click_input=self._click_input())
        except (KeyError, TypeError) as error:
            raise ValueError(f"its config lacks what {self.class_path} needs ({error})") from error

    def _ritm(self) -> ClickNetwork:
        # The class's own defaults hold where a file says nothing.
        if self.params.get("use_rgb_conv", True) or self.params.get("conv_extend") or self.params.get("clicks_groups"):
            raise ValueError("its clicks enter by a convolution of RGB or in groups, which is not hosted here")
        hrnet = self._hrnet_arguments()
        return RitmNetwork(**hrnet, small=bool(self.params.get("small", False)), click_input=self._click_input())

    def _focalclick(self) -> ClickNetwork:
        version = self.params.get("pipeline_version", "s1")
        if version not in ("s1", "s2"):
            raise ValueError(f"its pipeline is {version!r}; known: s1, s2")
        halves = version == "s1"
        encoding = ClickEncoding(radius=_S1_RADIUS[self.class_path] if halves else _S2_RADIUS)
        click_input = self._click_input(encoding)
        if self.class_path == _SEGFORMER:
            name = str(self.params.get("model_version", "b0"))
            if name.upper() not in SegFormerSize.__members__:
                raise ValueError(f"its SegFormer is {name!r}; known: b0, b3")
            size = SegFormerSize[name.upper()]
            return FocalNetwork(
                SegFormer(size), click_input=click_input, feature_channels=size.decoder_channels, halves=halves
            )
        hrnet = self._hrnet_arguments()
        return FocalNetwork(
            HighResolutionNet(**hrnet, small=bool(self.params.get("small", True))),
            click_input=click_input,
            feature_channels=2 * hrnet["ocr_width"],
            halves=halves,
        )

    def _hrnet_arguments(self) -> dict[str, int]:
        width, ocr_width = int(self.params.get("width", 48)), int(self.params.get("ocr_width", 256))
        if ocr_width <= 0:
            raise ValueError("its HRNet is without object-contextual representations, which is not hosted here")
        return {"width": width, "ocr_width": ocr_width}

    def _click_input(self, encoding: ClickEncoding | None = None) -> ClickInput:
        radius = float(self.params.get("norm_radius", 5 if self.house is House.SIMPLECLICK else 260))
        own = ClickEncoding(radius=radius, discs=bool(self.params.get("use_disks", False)))
        return ClickInput(
            encoding or own,
            previous_mask=bool(self.params.get("with_prev_mask", False)),
            binary_previous_mask=bool(self.params.get("binary_prev_mask", False)),
            leaky=bool(self.params.get("use_leaky_relu", False)),
        )

    def _plain_vit_size(self) -> PlainVitSize:
        backbone, neck, head = (self.params[f"{part}_params"] for part in ("backbone", "neck", "head"))
        first, second, third, fourth = (int(channels) for channels in neck["out_dims"])
        size = PlainVitSize(
            image_size=_side(backbone["img_size"]),
            patch_size=_side(backbone["patch_size"]),
            channels=int(backbone["embed_dim"]),
            depth=int(backbone["depth"]),
            heads=int(backbone["num_heads"]),
            neck_channels=(first, second, third, fourth),
            head_channels=int(head["channels"]),
            upsampling=int(str(head.get("upsample", "x1")).removeprefix("x")),
        )
        window = 224 // size.patch_size
        if size.depth % 4 or size.cells % window or size.upsampling not in (1, 2, 4):
            raise ValueError(f"its ViT is of a kind that is not hosted here: {size}")
        return size


def _side(value: Any) -> int:
    """Return the side of a square given by one number or two."""
    sides = {int(each) for each in value} if isinstance(value, (tuple, list)) else {int(value)}
    if len(sides) != 1:
        raise ValueError(f"its ViT takes no squares but {value}, which is not hosted here")
    return sides.pop()
