"""What a measurement says of the machine it was made on."""

from __future__ import annotations

import pytest
import torch

from qupath_sam.machine.description import instructions


def test_the_processor_s_instructions_are_named_and_those_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, there in (("amx_tile", False), ("avx512_bf16", True), ("vnni", True), ("avx512", True), ("avx2", True)):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda there=there: there, raising=False)
    assert instructions() == "no AMX, AVX-512 bf16, AVX-512 VNNI, AVX-512, AVX2"
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert instructions().startswith("AVX-512 bf16")


def test_so_is_what_keeps_libraries_from_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    without = instructions()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert instructions() == f"{without}, ONEDNN_MAX_CPU_ISA=AVX2"
