"""Outlines carried through a stack: the outline of one plane asks for that of the next, plane by plane."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from shapely.geometry import MultiPolygon, Polygon

from qupath_sam.client.images import ImageRef, Slide
from qupath_sam.engine.refine_guards import Guards
from qupath_sam.engine.refine_options import PromptOptions, RefineOptions
from qupath_sam.errors import InvalidRequest, QupathSamError
from qupath_sam.types.choices import Axis
from qupath_sam.types.prompts import ObjectPrompts
from qupath_sam.types.refinements import Refusal
from qupath_sam.types.requests import ObjectRequest, OutputOptions, WindowRequest
from qupath_sam.types.results import ObjectResult, Outline, Prediction, Provenance
from qupath_sam.types.service import ImageDescription


@dataclass(frozen=True, slots=True)
class PropagateOptions:
    """How far an outline is carried. It ends before a plane whose outline does not fulfil all of this.

    Attributes:
        first, last: planes between which it is carried, both included, from 0; None goes to the end of the stack.
        min_score: least score that the model gives itself, 0 to 1. Where a disc has ended, the mask prompt holds the
            default model at the old outline with about 0.66; the disc itself has 0.9
            (``tests/client/test_propagation.py``).
        max_area_change: from plane to plane the area may become this many times larger, or smaller.
        min_iou: least intersection over union with the outline of the plane before.
        box_margin: share of its longer side by which the box for the next plane is wider than the outline: an object
            may grow.
    """

    first: int | None = None
    last: int | None = None
    min_score: float = 0.75
    max_area_change: float = 2.0
    min_iou: float = 0.3
    box_margin: float = 0.2

    def refining(self) -> RefineOptions:
        """Return what a plane is asked for. Parts and holes may come and go from plane to plane.

        Raises:
            InvalidRequest: a number is out of its range.
        """
        guards = Guards(self.min_iou, self.max_area_change, self.min_score, min_part_iou=0)
        return RefineOptions(PromptOptions(box_margin=self.box_margin), guards, coarsest_mpp=0)


@dataclass(frozen=True, slots=True)
class PlaneOutline:
    """What became of the object on one plane.

    Attributes:
        z, t: the plane.
        result: of the plane; without outlines where the object ends.
        provenance: what made it.
    """

    z: int
    t: int
    result: ObjectResult
    provenance: Provenance

    @property
    def outline(self) -> Outline | None:
        """The outline, level-0 px; None where the object ends."""
        return self.result.outlines[0] if self.result.outlines else None

    @property
    def refusal(self) -> Refusal | None:
        """Why the object ends before this plane; None where it goes on."""
        return self.result.refinement.refusal if self.result.refinement is not None else None


class _Client(Protocol):
    """What is asked of a client."""

    def describe(self, image: ImageRef) -> ImageDescription: ...

    def predict(
        self,
        image: ImageRef,
        objects: Sequence[ObjectRequest | ObjectPrompts],
        *,
        model: str = "",
        window: WindowRequest | None = None,
        output: OutputOptions | None = None,
        refine: RefineOptions | None = None,
    ) -> Prediction: ...


def propagate(
    client: _Client,
    slide: Slide,
    outline: Polygon | MultiPolygon,
    axis: Axis,
    *,
    options: PropagateOptions | None = None,
    model: str = "",
    window: WindowRequest | None = None,
    output: OutputOptions | None = None,
) -> Iterator[PlaneOutline]:
    """Yield the outlines of an object on the planes above and below, nearest first: upwards, then downwards.

    Each plane is asked as a refinement of the outline before (`qupath_sam.engine.refine`). A model with a memory of
    video answers from what it remembers of the planes before instead (`qupath_sam.engine.tracking`). A direction ends
    with the stack, or with a `PlaneOutline` that has no outline and says why. A plane is asked about when its turn
    comes.

    Args:
        client: that segments.
        slide: with the plane on which the outline lies.
        outline: of the object, level-0 px.
        axis: through which it is carried.
        options: how far.
        model: empty takes the default.
        window: which pixels to use of each plane; chosen from the outline where None.
        output: what to do to each mask.

    Raises (while the outlines are taken):
        InvalidRequest: the image has one plane along this axis, the planes to go to do not lie around this one, or an
            option is out of its range.
        SlideError, ModelError: the image cannot be read, or the model not be had.
    """
    options = options or PropagateOptions()
    about = client.describe(slide)
    at, size = (slide.z, about.size_z) if axis is Axis.Z else (slide.t, about.size_t)
    if size < 2:
        raise InvalidRequest(f"the image has one plane along {axis.value}: there is none to carry an outline to")
    first = 0 if options.first is None else options.first
    last = size - 1 if options.last is None else options.last
    if not 0 <= first <= at <= last < size:
        raise InvalidRequest(
            f"planes {first} to {last} of {axis.value} do not lie around plane {at} of 0 to {size - 1}; give others"
        )
    refine = options.refining()

    def ask(plane: Slide, known: Polygon | MultiPolygon, token: bytes, how: RefineOptions) -> Prediction:
        request = ObjectRequest(ObjectPrompts(outline=known), token=token)
        return client.predict(plane, [request], model=model, window=window, output=output, refine=how)

    for planes in (range(at + 1, last + 1), range(at - 1, first - 1, -1)):
        if not planes:
            continue
        known = outline
        token = ask(slide, known, b"", replace(refine, remember=True)).results[0].token
        for plane in planes:
            there = replace(slide, z=plane) if axis is Axis.Z else replace(slide, t=plane)
            answer = ask(there, known, token, refine)
            result = answer.results[0]
            if result.refinement is None:
                raise QupathSamError("the server knows no refining; install the same version on both sides")
            yield PlaneOutline(there.z, there.t, result, answer.provenance)
            if not result.outlines:
                break
            known, token = result.outlines[0].geometry, result.token
