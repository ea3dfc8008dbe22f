"""Embeddings as files: they come back as they were, and nothing else passes for one."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qupath_sam.engine.embeddings.file_format import from_bytes, to_bytes
from qupath_sam.models.base import Embedding

KEY, OTHER_KEY = "a" * 64, "b" * 64


def sample() -> Embedding:
    """Every dtype that models use, and shapes at the edge: scalar, empty, not contiguous, sharing memory."""
    values = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) / 7
    tensors = {
        "image": values.to(torch.bfloat16),
        "half": values.to(torch.float16),
        "full": values,
        "same memory": values,
        "transposed": values.transpose(0, 2),
        "channels last": values[None].contiguous(memory_format=torch.channels_last),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "flags": torch.tensor([True, False]),
        "größe": torch.tensor([1, 2], dtype=torch.int64),
    }
    return Embedding(tensors, (171, 256))


DATA = to_bytes(KEY, sample())


def test_an_embedding_comes_back_as_it_was() -> None:
    expected, found = sample(), from_bytes(DATA, KEY)
    assert found.window_size == (171, 256)
    assert found.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert found.tensors[name].shape == tensor.shape
        assert torch.equal(found.tensors[name], tensor)


def test_values_that_are_no_numbers_come_back_bit_by_bit() -> None:
    bits = torch.tensor([0x7FC1, 0x7F80, -0x8000], dtype=torch.int16)  # NaN with a payload, infinity, -0
    embedding = Embedding({"image": bits.view(torch.bfloat16)}, (1, 1))
    found = from_bytes(to_bytes(KEY, embedding), KEY).tensors["image"]
    assert torch.equal(found.view(torch.int16), bits)


def test_what_is_read_can_be_written_to_without_reaching_the_file() -> None:
    found = from_bytes(DATA, KEY)
    found.tensors["full"].zero_()
    assert not torch.equal(from_bytes(DATA, KEY).tensors["full"], found.tensors["full"])


@given(st.integers(0, len(DATA) - 1))
def test_a_truncated_file_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_bytes(DATA[:length], KEY)


@settings(max_examples=200)
@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_harmless(position: int, flip: int) -> None:
    damaged = bytearray(DATA)
    damaged[position] ^= flip
    try:
        found = from_bytes(bytes(damaged), KEY)
    except ValueError:
        return
    # A blank of the header's padding, or the like: then the embedding must be the same.
    assert to_bytes(KEY, found) == DATA


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    assume(data != DATA)
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        from_bytes(data, KEY)


def test_a_swapped_dtype_of_the_same_size_is_noticed() -> None:
    with pytest.raises(ValueError, match="damaged"):
        from_bytes(DATA.replace(b'"dtype":"BF16"', b'"dtype":"F16" ', 1), KEY)


def test_another_keys_file_is_refused() -> None:
    with pytest.raises(ValueError, match="another key"):
        from_bytes(DATA, OTHER_KEY)
    with pytest.raises(ValueError, match="damaged"):
        from_bytes(DATA.replace(KEY.encode(), OTHER_KEY.encode()), OTHER_KEY)


def test_another_version_and_other_safetensors_are_refused() -> None:
    with pytest.raises(ValueError, match="format is 'qupath-sam embedding 9'"):
        from_bytes(DATA.replace(b"qupath-sam embedding 1", b"qupath-sam embedding 9"), KEY)
    for metadata in (None, {"format": "pt"}):
        with pytest.raises(ValueError, match=r"format is|not a readable"):
            from_bytes(safetensors.torch.save({"weight": torch.zeros(3)}, metadata), KEY)
