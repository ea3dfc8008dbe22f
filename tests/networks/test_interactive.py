"""The networks of RITM, FocalClick and SimpleClick are those of the published files."""

from __future__ import annotations

import pytest
import torch

from qupath_sam.models.interactive.published import published_config, published_network
from qupath_sam.networks.interactive.clicks import ClickEncoding, PixelClicks, click_maps
from qupath_sam.networks.interactive.config import House, NetworkConfig
from tests.models.click_files import small_network

#: Tensors and millions of parameters of networks that the authors' own code built from these configs.
SIZES = {
    "ritm_hrnet18s": (929, 4.22),
    "ritm_hrnet18": (1895, 10.03),
    "ritm_hrnet32": (1895, 30.95),
    "focalclick_hrnet18s_s1": (983, 4.23),
    "focalclick_hrnet32_s2": (1949, 30.97),
    "focalclick_segformer_b0_s1": (257, 3.74),
    "focalclick_segformer_b3_s2": (653, 45.69),
    "simpleclick_vit_b": (214, 98.0),
    "simpleclick_vit_l": (358, 324.2),
}


@pytest.mark.parametrize("name", SIZES)
def test_has_the_size_of_the_original(name: str) -> None:
    with torch.device("meta"):
        network = published_network(name).build()
    tensors, parameters = SIZES[name]
    assert len(network.state_dict()) == tensors
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(parameters, abs=0.04)


def test_a_class_of_two_houses_is_told_by_its_refiner() -> None:
    config = published_config("ritm_hrnet18s")
    assert NetworkConfig.read(config, has_refiner=False).house is House.RITM
    assert NetworkConfig.read(config, has_refiner=True).house is House.FOCALCLICK
    assert published_network("focalclick_hrnet18s_s1").house is House.FOCALCLICK


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"use_rgb_conv": True}, "convolution of RGB"),
        ({"ocr_width": 0}, "object-contextual"),
        ({"pipeline_version": "s3"}, "known: s1, s2"),
    ],
)
def test_networks_that_are_not_hosted_say_so(change: dict[str, object], complaint: str) -> None:
    config = published_config("ritm_hrnet18s")
    config["params"] |= {key: {"value": value} for key, value in change.items()}
    with pytest.raises(ValueError, match=complaint):
        NetworkConfig.read(config, has_refiner=False).build()


def test_other_classes_are_named() -> None:
    with pytest.raises(ValueError, match=r"DeeplabModel; known: .*HRNetModel"):
        NetworkConfig.read({"class": "isegm.model.is_deeplab_model.DeeplabModel", "params": {}}, has_refiner=False)


def test_a_click_is_a_disc_of_five_px() -> None:
    clicks = PixelClicks(torch.tensor([[10.0, 20.0], [3.0, 4.0]]), torch.tensor([True, False]))
    positive, negative = click_maps([clicks], (32, 48), ClickEncoding(radius=5))[0]
    rows, columns = positive.nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 15, 15, 25)
    assert positive.sum() == 81  # px whose squared distance is at most 25
    assert negative[3, 4] == 1
    assert negative[10, 20] == 0
    distances = click_maps([clicks], (32, 48), ClickEncoding(radius=10, discs=False))[0]
    assert distances[0, 10, 20] == 0
    assert distances[0, 10, 25] == pytest.approx(torch.tanh(torch.tensor(2 * 5 / 10)).item())


def test_mirroring_clicks_mirrors_their_map() -> None:
    clicks = PixelClicks(torch.tensor([[10.0, 20.0]]), torch.tensor([True]))
    straight, mirrored = click_maps([clicks, clicks.flipped(48)], (32, 48), ClickEncoding())
    torch.testing.assert_close(mirrored, straight.flip(2))


@pytest.mark.parametrize("name", ["ritm_hrnet18s", "focalclick_hrnet18s_s1", "focalclick_segformer_b0_s2"])
def test_answers_at_the_size_of_the_image_and_hears_everything(name: str) -> None:
    network = small_network(name)
    image, previous = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64)
    click = PixelClicks(torch.tensor([[30.0, 20.0]]), torch.tensor([True]))
    with torch.inference_mode():
        answer = network.answer(image, previous, [click]).logits
        assert answer.shape == (1, 1, 64, 64)
        moved = PixelClicks(click.places + 20, click.positive)
        negative = PixelClicks(click.places, ~click.positive)
        others = [(1 - image, previous, click), (image, 1 - previous, click), (image, previous, moved)]
        for other_image, other_previous, other_click in [*others, (image, previous, negative)]:
            other = network.answer(other_image, other_previous, [other_click]).logits
            assert (other - answer).abs().max() > 1e-4
