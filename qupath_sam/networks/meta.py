"""Networks without their weights: shapes alone, on torch's meta device, and nothing drawn for what is filled later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

#: What changes no shape; SAM multiplies what it draws by a number.
_WITHOUT_CONTENTS = (torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.mul)


@contextmanager
def on_meta_device() -> Iterator[None]:
    """Build networks in this block: tensors have shapes and no contents.

    Plain ``torch.device("meta")`` does the same, but drawing there imports torch's compiler: seconds of a first click.
    """
    with torch.device("meta"), _WithoutDrawing():
        yield


class _WithoutDrawing(TorchFunctionMode):
    """Leaves out what would draw random numbers."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        values = args[0] if args else (kwargs or {}).get("tensor")
        changes_no_shape = func in _WITHOUT_CONTENTS or getattr(func, "__module__", "") == "torch.nn.init"
        if changes_no_shape and isinstance(values, torch.Tensor) and values.is_meta:
            return values
        if func is torch.randn:
            func = torch.empty
        return func(*args, **(kwargs or {}))
