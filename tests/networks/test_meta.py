"""Networks on the meta device: the shapes of real ones, and nothing imported or drawn for their contents."""

from __future__ import annotations

import subprocess
import sys

import torch

from qupath_sam.models.adapters.lite_medsam import build_lite_medsam
from qupath_sam.networks.meta import on_meta_device
from qupath_sam.networks.network import Parts


def test_shapes_are_those_of_a_network_with_contents() -> None:
    parts = Parts(refinement_head=True)
    real = build_lite_medsam(parts).state_dict()
    with torch.random.fork_rng(devices=[]), on_meta_device():
        empty = build_lite_medsam(parts).state_dict()
        there = torch.zeros(3, device="cpu").normal_()
    assert {name: value.shape for name, value in empty.items()} == {name: value.shape for name, value in real.items()}
    assert all(value.is_meta for value in empty.values())
    assert there.abs().sum() > 0


def test_loading_a_model_does_without_torchs_compiler() -> None:
    code = (
        "import sys\n"
        "from qupath_sam.models.load import load_segmenter\n"
        "load_segmenter('lite_medsam_histology', device='cpu')\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
