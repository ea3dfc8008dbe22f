"""Any number of objects in calls that a server takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import TypeVar

from qupath_sam.errors import RequestTooLarge
from qupath_sam.types.results import Prediction, Timings

Item = TypeVar("Item")


def in_parts(objects: Sequence[Item], ask: Callable[[Sequence[Item]], Prediction], *, most: int) -> Prediction:
    """Return one prediction of all objects, in order.

    Args:
        objects: to ask about.
        ask: makes one call. One that is too large is made again in halves.
        most: objects of one call.

    Raises:
        RequestTooLarge: one object alone is too large.
    """
    if len(objects) <= 1:
        return ask(objects)
    return joined(
        [answer for start in range(0, len(objects), most) for answer in _halved(objects[start : start + most], ask)]
    )


def joined(predictions: Sequence[Prediction]) -> Prediction:
    """Join the answers of several calls about one image: results in order, each remark once, times added up."""
    if len(predictions) == 1:
        return predictions[0]
    made = predictions[0].provenance
    remarks = tuple(dict.fromkeys(remark for each in predictions for remark in each.provenance.remarks))
    times = {name.name: sum(getattr(each.timings, name.name) for each in predictions) for name in fields(Timings)}
    return Prediction(
        tuple(result for each in predictions for result in each.results),
        replace(made, remarks=remarks),
        Timings(**times),
    )


def _halved(objects: Sequence[Item], ask: Callable[[Sequence[Item]], Prediction]) -> Iterator[Prediction]:
    try:
        answer = ask(objects)
    except RequestTooLarge:
        if len(objects) == 1:
            raise
        middle = len(objects) // 2
        yield from _halved(objects[:middle], ask)
        yield from _halved(objects[middle:], ask)
    else:
        yield answer
