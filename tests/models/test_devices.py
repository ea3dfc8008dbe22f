"""Devices, number formats, and errors for want of memory."""

from __future__ import annotations

import pytest
import torch

from qupath_sam.errors import OutOfMemory
from qupath_sam.models.devices import (
    Precision,
    choose_device,
    choose_execution,
    computes_in_bf16,
    out_of_memory_mapped,
)

CPU = torch.device("cpu")


def test_auto_precision_is_what_the_processor_computes_in() -> None:
    resolved = choose_execution("cpu", "auto").precision
    assert resolved is (Precision.BF16 if computes_in_bf16(CPU) else Precision.FP32)


@pytest.mark.parametrize("native", [True, False])
def test_emulated_bf16_is_not_chosen(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert choose_execution("cpu").precision is (Precision.BF16 if native else Precision.FP32)
    assert choose_execution("cpu", "bf16").precision is Precision.BF16


@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
@pytest.mark.parametrize(("limit", "bf16"), [("AVX2", False), ("avx512_core", False), ("AVX512_CORE_BF16", True)])
def test_neither_is_what_onednn_is_kept_from(
    monkeypatch: pytest.MonkeyPatch, name: str, limit: str, bf16: bool
) -> None:
    """OpenVINO would go on in bf16, and oneDNN would emulate it."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setenv(name, limit)
    assert choose_execution("cpu").precision is (Precision.BF16 if bf16 else Precision.FP32)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_device(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device().type == expected


def test_want_of_memory_is_told_in_one_way() -> None:
    with pytest.raises(OutOfMemory, match="cpu has no memory left"), out_of_memory_mapped(CPU):
        torch.empty(1 << 60, dtype=torch.uint8)
    for error in (
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("MPS backend out of memory"),
    ):
        with pytest.raises(OutOfMemory), out_of_memory_mapped(CPU):
            raise error


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shape"), out_of_memory_mapped(CPU):
        raise RuntimeError("shape mismatch")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_cuda_answers_like_the_cpu(precision: Precision) -> None:
    import numpy as np

    from qupath_sam.models.load import load_segmenter
    from tests.contracts.segmenters import box, iou, picture

    pixels, prompts = picture(256, 256), [box(40, 50, 120, 140), box(30, 20, 200, 180)]
    answers = []
    for device, number_format in (("cpu", Precision.FP32), ("cuda", precision)):
        segmenter = load_segmenter("lite_medsam", device=device, precision=number_format).segmenter
        answers.append(segmenter.decode(segmenter.embed(pixels), prompts))
    for ours, theirs in zip(*answers, strict=True):
        assert iou(ours.masks[0], theirs.masks[0]) > 0.9
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=0.05)
