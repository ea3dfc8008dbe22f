"""What is at fault where something fails: one object, as far as that can be found out, rather than all of its call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from shapely.errors import GEOSException

from qupath_sam.errors import DeadlineExceeded, InvalidRequest, ModelError, SlideError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

#: Faults that may be an object's own: the next one may still be answered for.
OF_AN_OBJECT = (SlideError, InvalidRequest, ModelError, GEOSException)


def ask_together(
    items: Sequence[Item], ask: Callable[[Sequence[Item]], Answer]
) -> Iterator[tuple[Sequence[Item], Answer | str]]:
    """Yield the items, in order, with the answer to them, or the reason why one of them has none.

    A call that fails is halved: to find the item at fault, or to ask for less at once.

    Args:
        items: that can share a call.
        ask: makes a call.

    Raises:
        DeadlineExceeded: a single item takes too long.
        QupathSamError: a fault that is no item's, such as a lost server.
    """
    if not items:
        return
    try:
        answer = ask(items)
    except (*OF_AN_OBJECT, DeadlineExceeded) as error:
        if len(items) > 1:
            middle = len(items) // 2
            yield from ask_together(items[:middle], ask)
            yield from ask_together(items[middle:], ask)
        elif isinstance(error, DeadlineExceeded):
            raise
        else:
            yield items, reason_of(error)
    else:
        yield items, answer


def reason_of(error: Exception) -> str:
    """Return the message for the person who drew the outline, in place of GEOS's own words."""
    if isinstance(error, GEOSException):
        return f"a shape could not be computed with ({error}); draw the outline again in QuPath, or lock it"
    return str(error)
