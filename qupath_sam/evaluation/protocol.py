"""The click protocol: one object, one model, twenty clicks.

It is the papers' (Xu et al. 2016; RITM, Sofiiuk et al. 2022; Kim et al., sec. 3.2), with these rules spelt out:

- **Next click**: `qupath_sam.datasets.simulated_clicks`. The first goes into an empty prediction, so to the object's
  middle.
- **Model**: all clicks so far, and the previous prediction's logits as mask prompt (Mahadevan et al. 2018; Kim et al.,
  sec. 2.2). A pixel is in the mask where its logit is above 0. A model that answers the first click with several masks
  is held to the one it scores best itself: nothing looks at the truth to choose.
- **IoU** at the evaluated image's own resolution, whichever the model works at.
- **No early stop**: every object gets all clicks, so that the curves of mean IoU (Fig. 3) are over the same objects
  at each click. Where nothing is left to correct, no click is made and the last mask stands.
- **NoC@t** is the first click whose IoU reaches t per cent; an object that never does counts with all clicks. Reaching
  it at the last click is a success (RITM's ``compute_noc_metric`` counts that as a failure: its NoF is higher).
- **First prompt**: a click, or, with `FirstPrompt.STROKE`, a stroke through the object's middle
  (`qupath_sam.datasets.simulated_strokes`), which counts as one click.
- **Harm and locality** of each click: `qupath_sam.evaluation.metrics`.

Apart from the clicks, an object is asked for by its box, by a spoilt outline (`perturbed_outline`; the gain is the IoU
after refining less the IoU before; the prompts are the outline and its box, no point: what `project refine` makes of
outlines, with a point and its guards, is for `qupath-sam bench refine`), and by jittered clicks: the first few clicks
again, each displaced at random within its error; the figure is the mean change of IoU from the undisturbed clicks,
whichever the sign. A first stroke is drawn at another place then.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean

import numpy as np
from scipy import ndimage

from qupath_sam.datasets.options import FirstPrompt
from qupath_sam.datasets.perturbed_outlines import perturbed_outline
from qupath_sam.datasets.simulated_clicks import Jitter, SimulatedClick, next_click
from qupath_sam.datasets.simulated_strokes import stroke_through
from qupath_sam.evaluation.metrics import harm, is_square, locality
from qupath_sam.evaluation.sessions import ClickSession, PromptableImage
from qupath_sam.models.base import Capabilities
from qupath_sam.polygons.tracing import trace_mask
from qupath_sam.types.masks import Mask, box_of, intersection_over_union

#: Changes with anything here or in `clicks`, `outlines`, `sessions` and `metrics` that changes a result.
PROTOCOL_VERSION = 3
#: IoU thresholds of the papers' tables, per cent.
NOC_THRESHOLDS = (80, 85, 90)


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings of the protocol; all of them go into the report and into each result's key.

    Attributes:
        max_clicks: clicks of every object.
        jitter_runs: how often the first clicks are repeated with jitter; 0 leaves it out.
        jitter_clicks: clicks of such a run.
        jitter_spread: see `qupath_sam.datasets.simulated_clicks.Jitter`.
        outline_iou: IoU of the spoilt outline with the truth.
        seed: of the jitter, of the spoilt outline and of the stroke, together with the object's digest.
        first: the first prompt.
    """

    max_clicks: int = 20
    jitter_runs: int = 2
    jitter_clicks: int = 3
    jitter_spread: float = 1.0
    outline_iou: float = 0.8
    seed: int = 0
    first: FirstPrompt = FirstPrompt.CLICK

    def seed_of(self, digest: str) -> tuple[int, ...]:
        """Return the seed of an object, from its hex digest."""
        return self.seed, int(digest[:16], 16)

    def as_json(self) -> dict[str, object]:
        """Return the settings as JSON values, by name."""
        return {**asdict(self), "first": self.first.value}


@dataclass(frozen=True, slots=True, eq=False)
class ClickRun:
    """An object after each click.

    Attributes:
        iou, harm, locality: one value a click, always as many as the protocol allows.
        clicks: those that were made; fewer where nothing was left to correct. A stroke stands there with its first
            point.
        click_seconds: wall time of the model's answer to each click made.
        scores: the model's estimate of the IoU after each click made; None where nothing came.
        first_parts: connected parts (8-connected) of the first answer.
        first_best_iou: IoU of the best of the masks that were offered for the first click; with jitter, of the first.
        squares: answers whose border is partly a square's, of `qupath_sam.evaluation.metrics.is_square`. 0 where the
            object's own border is: regions are cut where a pathologist's field ends.
        masks: after the clicks that were asked for, by their number from 1.
    """

    iou: tuple[float, ...]
    harm: tuple[float, ...]
    locality: tuple[float, ...]
    clicks: tuple[SimulatedClick, ...]
    click_seconds: tuple[float, ...]
    scores: tuple[float | None, ...]
    first_parts: int
    first_best_iou: float
    squares: int
    masks: dict[int, Mask] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class ObjectScores:
    """Scores of one object.

    Attributes:
        run: the clicks.
        seconds: wall time of the click loop, the simulated user and the IoU included, as RITM measures.
        box_iou: from the object's box; None where the model takes none.
        refine_gain: IoU gained by refining the spoilt outline; None where the model takes neither box nor mask.
        jitter: mean change of IoU under jitter; None where it was left out.
    """

    run: ClickRun
    seconds: float
    box_iou: float | None
    refine_gain: float | None
    jitter: float | None


def score_object(
    image: PromptableImage, truth: Mask, protocol: Protocol, *, capabilities: Capabilities, digest: str
) -> ObjectScores:
    """Run the whole protocol for one object.

    Args:
        image: holds the object.
        truth: bool ``(H, W)``, not empty.
        protocol: its settings.
        capabilities: of the model; prompts it does not take are left out.
        digest: hex digest of the object; part of the seed.
    """
    seed = protocol.seed_of(digest)
    started = time.perf_counter()
    run = run_clicks(image.start(), truth, max_clicks=protocol.max_clicks, stroke=first_stroke(truth, protocol, seed))
    seconds = time.perf_counter() - started
    box_iou = intersection_over_union(image.from_box(box_of(truth)), truth) if capabilities.boxes else None
    outlines = capabilities.outlines and (capabilities.boxes or capabilities.mask_prompt)
    return ObjectScores(
        run=run,
        seconds=seconds,
        box_iou=box_iou,
        refine_gain=_refine_gain(image, truth, protocol, seed) if outlines else None,
        jitter=_jitter_effect(image, truth, protocol, seed, undisturbed=run.iou) if protocol.jitter_runs else None,
    )


def first_stroke(truth: Mask, protocol: Protocol, seed: tuple[int, ...]) -> tuple[SimulatedClick, ...]:
    """Return the stroke that the protocol begins with on an object, as pixels; empty where it begins with a click."""
    if protocol.first is FirstPrompt.CLICK:
        return ()
    return stroke_through(truth, np.random.default_rng(seed))


def run_clicks(
    session: ClickSession,
    truth: Mask,
    *,
    max_clicks: int,
    jitter: Jitter | None = None,
    keep: Collection[int] = (),
    stroke: Sequence[SimulatedClick] = (),
) -> ClickRun:
    """Click an object ``max_clicks`` times.

    Args:
        session: newly started.
        truth: bool ``(H, W)``, not empty.
        max_clicks: clicks to make, at least 1.
        jitter: displaces each click.
        keep: numbers of the clicks (from 1) whose masks are wanted.
        stroke: points of a stroke in place of the first click; empty clicks.
    """
    mask = np.zeros_like(truth)
    clicked = np.zeros_like(truth)
    ious: list[float] = []
    harms: list[float] = []
    localities: list[float] = []
    clicks: list[SimulatedClick] = []
    seconds: list[float] = []
    scores: list[float | None] = []
    first_parts, first_best_iou, squares = 0, 0.0, 0
    cut_off = is_square(truth)
    masks: dict[int, Mask] = {}
    for number in range(1, max_clicks + 1):
        drawn = stroke if number == 1 else ()
        click = drawn[0] if drawn else next_click(mask, truth, clicked, jitter=jitter)
        after = mask
        if click is not None:
            if drawn:
                answer = session.stroke([each.point for each in drawn], click.label)
            else:
                answer = session.click(click.point, click.label)
            after = answer.mask
            seconds.append(answer.seconds)
            scores.append(answer.score)
            squares += is_square(after) and not cut_off
            if number == 1:
                first_parts = int(ndimage.label(after, structure=np.ones((3, 3)))[1])
                others = session.others() if jitter is None else ()
                first_best_iou = max(intersection_over_union(each, truth) for each in (after, *others))
            clicks.append(click)
            for each in drawn or (click,):
                clicked[each.y, each.x] = True
        ious.append(intersection_over_union(after, truth))
        harms.append(harm(mask, after, truth))
        localities.append(locality(mask, after, (click.x, click.y)) if click is not None else 0.0)
        mask = after
        if number in keep:
            masks[number] = mask
    return ClickRun(
        iou=tuple(ious),
        harm=tuple(harms),
        locality=tuple(localities),
        clicks=tuple(clicks),
        click_seconds=tuple(seconds),
        scores=tuple(scores),
        first_parts=first_parts,
        first_best_iou=first_best_iou,
        squares=squares,
        masks=masks,
    )


def number_of_clicks(ious: Sequence[float], threshold: float) -> int:
    """Return the NoC of one object: the first click with an IoU of at least ``threshold`` (0..1); else all clicks."""
    return next((number for number, iou in enumerate(ious, start=1) if iou >= threshold), len(ious))


def is_failure(ious: Sequence[float], threshold: float) -> bool:
    """Return whether no click reached ``threshold`` (0..1): what NoF counts."""
    return max(ious) < threshold


def _refine_gain(image: PromptableImage, truth: Mask, protocol: Protocol, seed: tuple[int, ...]) -> float:
    spoilt = perturbed_outline(truth, seed=seed, iou=protocol.outline_iou)
    refined = image.from_outline(trace_mask(spoilt))
    return intersection_over_union(refined, truth) - intersection_over_union(spoilt, truth)


def _jitter_effect(
    image: PromptableImage, truth: Mask, protocol: Protocol, seed: tuple[int, ...], *, undisturbed: Sequence[float]
) -> float:
    changes: list[float] = []
    clicks = min(protocol.jitter_clicks, protocol.max_clicks)
    for repeat in range(protocol.jitter_runs):
        jitter = Jitter(np.random.default_rng((*seed, repeat)), protocol.jitter_spread)
        stroke = first_stroke(truth, protocol, (*seed, repeat))
        disturbed = run_clicks(image.start(), truth, max_clicks=clicks, jitter=jitter, stroke=stroke)
        changes += [abs(a - b) for a, b in zip(disturbed.iou, undisturbed, strict=False)]
    return fmean(changes)
