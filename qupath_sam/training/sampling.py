"""The simulated user of training: what is asked for, and which prompts come one after another.

Iterative training of RITM (Sofiiuk et al. 2022, sec. 3.3) after Mahadevan et al. 2018: the first click inside the
object, each next one into an error of the model's own last answer, which goes in as mask prompt. It differs in two
ways. Three clicks in four (`PromptMix.exact`) are the protocol's own, in the middle of the object or of the largest
error; the fourth is any pixel well inside the object or either kind of error. RITM draws all so, at least half as far
from the border as the middle, in the larger kind, and Kim et al. (sec. 3.2) their first click anywhere. And RITM
makes up to three such clicks before one training step; here a `Session` lasts up to twenty, and every answer on the
way is trained on: so the long sequences that the protocol asks for are seen, and no forward pass is spent on
replaying clicks.
"""

from __future__ import annotations

import enum
import itertools
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from qupath_sam.datasets.perturbed_outlines import perturbed_outline
from qupath_sam.datasets.simulated_clicks import SimulatedClick, error_distance, next_click
from qupath_sam.engine.logits import OUTLINE_LOGIT
from qupath_sam.models.click_rules import keep_clicked_parts
from qupath_sam.networks.canvas import CANVAS_SIZE, CanvasClick, CanvasPrompts
from qupath_sam.types.masks import Mask, box_of
from qupath_sam.types.prompts import Label

#: Darkest channel from which on a px is a lumen's, not tissue.
_WHITE = 205


class Start(enum.Enum):
    """The first prompt of a session."""

    CLICK = "click"
    STROKE = "stroke"
    BOX = "box"
    OUTLINE = "outline"


@dataclass(frozen=True, slots=True)
class PromptMix:
    """How sessions are drawn. The shares were found on training groups; most are short, as first clicks matter most.

    Attributes:
        boxes, outlines, strokes: shares of sessions that begin with them; the others begin with a click.
        single: share of sessions that end with the first answer.
        max_prompts: of one session.
        exact: share of clicks in the very middle of the error, as the protocol clicks.
        unions: share of targets that are an object with some of its neighbours.
        lumens: share of targets with a lumen in them that are asked for without it.
        halves: share of targets of which one side alone is asked for, as by a person who takes the rest away again.
    """

    boxes: float = 0.14
    outlines: float = 0.12
    strokes: float = 0.1
    single: float = 0.45
    max_prompts: int = 20
    exact: float = 0.75
    unions: float = 0.08
    lumens: float = 0.3
    halves: float = 0.04


@dataclass(slots=True, eq=False)
class Session:
    """One object of one crop that is being prompted.

    Attributes:
        crop: index of the crop.
        truth: bool ``(256, 256)``, not empty.
        fine_truth: bool ``(S, S)``, the same at the resolution of the image.
        start: what it began with.
        limit: answers after which it ends.
        clicks: so far.
        box: ``(min_x, min_y, max_x, max_y)`` on pixel edges, or None.
        previous: the logits so far ``(256, 256)``, or None.
        answers: how many have been given.
    """

    crop: int
    truth: Mask
    fine_truth: Mask
    start: Start
    limit: int
    clicks: tuple[CanvasClick, ...] = ()
    box: tuple[float, float, float, float] | None = None
    previous: Tensor | None = None
    answers: int = 0

    def prompts(self) -> CanvasPrompts:
        """Return the prompts of the next answer."""
        return CanvasPrompts(self.clicks, newest=self.newest, box=self.box, previous=self.previous)

    @property
    def newest(self) -> int:
        """The number of clicks that the next answer is for: all of a stroke, else one."""
        return len(self.clicks) if self.start is Start.STROKE and not self.answers else min(1, len(self.clicks))

    @property
    def is_ambiguous(self) -> bool:
        """Whether several masks are asked for: what a first click or stroke means is not yet known."""
        return self.answers == 0 and self.start in (Start.CLICK, Start.STROKE)

    def clicked_error(self) -> Mask:
        """Return the connected part of the last answer's error that the newest click points at, bool ``(256, 256)``.

        Empty where there is no answer yet, or the click was not on an error.
        """
        if self.previous is None or not self.clicks:
            return np.zeros_like(self.truth)
        error = (self.previous > 0).numpy() != self.truth
        components, _ = ndimage.label(error)
        number = components[self.clicks[-1].pixel]
        pointed_at: Mask = (components == number) & error
        return pointed_at

    def go_on(self, logits: Tensor, random: np.random.Generator, mix: PromptMix, *, keep_parts: bool = False) -> bool:
        """Take the model's answer in and click its error; False where the session ends.

        Args:
            logits: ``(256, 256)`` without gradient.
            random: of the click.
            mix: how it is drawn.
            keep_parts: whether parts of the answer that no click points at stay, as RITM's rules of inference have it.
        """
        kept = logits.detach().to("cpu", torch.float32).numpy()
        if not keep_parts:
            kept = keep_clicked_parts(kept, self.prompts())
        self.previous = torch.from_numpy(kept)
        self.answers += 1
        if self.answers >= self.limit:
            return False
        clicked = np.zeros_like(self.truth)
        for click in self.clicks:
            clicked[click.pixel] = True
        prediction: Mask = (self.previous > 0).numpy()
        following = sample_next_click(prediction, self.truth, clicked, random, exact=mix.exact)
        if following is None:
            return False
        self.clicks = (*self.clicks, _canvas_click(following))
        return True


def start_session(
    crop: int,
    labels: NDArray[np.integer],
    targets: tuple[int, ...],
    random: np.random.Generator,
    mix: PromptMix,
    *,
    image: NDArray[np.uint8] | None = None,
) -> Session:
    """Start a session on an object of a crop.

    Args:
        crop: index of the crop.
        labels: ``(S, S)``, S a multiple of `CANVAS_SIZE`.
        targets: labels to choose from.
        random: of all that is drawn.
        mix: how it is drawn.
        image: uint8 ``(S, S, 3)`` RGB, in which lumens are looked for; None looks for none.

    Raises:
        ValueError: the crop has no target.
    """
    fine = choose_target(labels, targets, random, mix)
    if image is not None and random.random() < mix.lumens:
        fine = without_lumen(fine, image)
    if random.random() < mix.halves:
        fine = half_of(fine, random)
    truth = over_canvas(fine)
    if not truth.any():
        fine = choose_target(labels, targets, random, replace(mix, unions=0))
        truth = over_canvas(fine)
    drawn = random.random()
    shares = ((Start.BOX, mix.boxes), (Start.OUTLINE, mix.outlines), (Start.STROKE, mix.strokes))
    start = Start.CLICK
    for kind, share in shares:
        if drawn < share:
            start = kind
            break
        drawn -= share
    session = Session(crop, truth, fine, start, _limit(random, mix))
    if start is Start.CLICK:
        session.clicks = (_canvas_click(sample_first_click(truth, random, exact=mix.exact)),)
    elif start is Start.STROKE:
        session.clicks = tuple(_canvas_click(click) for click in sample_stroke(truth, random))
    elif start is Start.BOX:
        session.box = sample_box(truth, random)
    else:
        outline = perturbed_outline(truth, seed=int(random.integers(2**31)), iou=float(random.uniform(0.55, 0.9)))
        session.previous = torch.from_numpy(np.where(outline, OUTLINE_LOGIT, -OUTLINE_LOGIT).astype(np.float32))
        if random.random() < 0.8:  # the engine gives an outline's box with it
            session.box = box_of(outline).bounds
    return session


def over_canvas(fine: Mask) -> Mask:
    """Map bool ``(S, S)`` to ``(CANVAS_SIZE, CANVAS_SIZE)``: what covers at least half of a canvas px."""
    factor = fine.shape[0] // CANVAS_SIZE
    if factor == 1:
        return fine
    covered = fine.reshape(CANVAS_SIZE, factor, CANVAS_SIZE, factor).mean(axis=(1, 3))
    canvas: Mask = covered >= 0.5
    return canvas


def choose_target(
    labels: NDArray[np.integer], targets: tuple[int, ...], random: np.random.Generator, mix: PromptMix
) -> Mask:
    """Choose one labelled object, or a union of neighbours: people also ask for groups of glands. bool, as the labels.

    Raises:
        ValueError: there is none.
    """
    if not targets:
        raise ValueError("a crop without targets cannot be clicked")
    chosen = [targets[int(random.integers(len(targets)))]]
    if len(targets) > 1 and random.random() < mix.unions:
        factor = max(1, labels.shape[0] // CANVAS_SIZE)
        small = labels[factor // 2 :: factor, factor // 2 :: factor]  # neighbours are found as well among fewer px
        for _ in range(int(random.integers(1, 4))):
            mask = np.isin(small, chosen)
            around = ndimage.binary_dilation(mask, iterations=7) & ~mask
            near = np.unique(small[around])
            near = near[near != 0]
            if not len(near):
                break
            chosen.append(int(near[int(random.integers(len(near)))]))
    whole: Mask = np.isin(labels, chosen)
    return whole


def without_lumen(fine: Mask, image: NDArray[np.uint8]) -> Mask:
    """Return the object without the largest white area in it, as a negative click into a lumen or a vessel asks for.

    The object as it is where it has none of 2 to 50 % of its area.

    Args:
        fine: bool ``(S, S)``.
        image: uint8 ``(S, S, 3)`` RGB.
    """
    factor = max(1, fine.shape[0] // CANVAS_SIZE)
    white = fine[::factor, ::factor] & (image[::factor, ::factor].min(axis=-1) > _WHITE)
    white = ndimage.binary_opening(ndimage.gaussian_filter(white.astype(np.float32), 1.5) > 0.5, iterations=2)
    parts, count = ndimage.label(white)
    if not count:
        return fine
    areas = np.bincount(parts.ravel())[1:]
    area = np.count_nonzero(fine[::factor, ::factor])
    if not 0.02 * area <= areas.max() <= 0.5 * area:
        return fine
    lumen = parts == 1 + int(areas.argmax())
    rest: Mask = fine & ~lumen.repeat(factor, 0).repeat(factor, 1)
    return rest


def half_of(fine: Mask, random: np.random.Generator) -> Mask:
    """Return what of the object lies on one side of a straight line through its centre, at any angle. bool, as it."""
    rows, columns = np.nonzero(fine)
    if not len(rows):
        return fine
    angle = random.uniform(0, 2 * np.pi)
    side = (rows - rows.mean()) * np.sin(angle) + (columns - columns.mean()) * np.cos(angle) > 0
    half = np.zeros_like(fine)
    half[rows[side], columns[side]] = True
    return half


def sample_stroke(truth: Mask, random: np.random.Generator) -> tuple[SimulatedClick, ...]:
    """Draw a stroke through the object, as points along it: from its middle over one or two places well inside it.

    Straight between these, and left out where it leaves the object.
    """
    distance = error_distance(truth)
    rows, columns = np.nonzero(distance >= max(0.3 * distance.max(), np.finfo(float).tiny))
    corners = [np.unravel_index(int(distance.argmax()), truth.shape)]
    for _ in range(int(random.integers(1, 3))):
        index = int(random.integers(len(rows)))
        corners.append((rows[index], columns[index]))
    path = np.concatenate([np.linspace(a, b, 24) for a, b in itertools.pairwise(corners)])
    path = np.unique(np.round(path).astype(int), axis=0)
    inside = path[truth[path[:, 0], path[:, 1]]]
    if not len(inside):
        inside = np.array([corners[0]])
    chosen = inside[np.linspace(0, len(inside) - 1, min(len(inside), int(random.integers(3, 9)))).round().astype(int)]
    return tuple(SimulatedClick(int(x), int(y), Label.POSITIVE) for y, x in chosen)


def sample_first_click(truth: Mask, random: np.random.Generator, *, exact: float) -> SimulatedClick:
    """Draw a positive click inside the object: with ``exact`` its middle, else any pixel not close to its edge."""
    distance = error_distance(truth)
    share = 1.0 if random.random() < exact else 0.35
    return _pixel_of(distance, random, share=share, label=Label.POSITIVE)


def sample_next_click(
    prediction: Mask, truth: Mask, clicked: Mask, random: np.random.Generator, *, exact: float
) -> SimulatedClick | None:
    """Draw the protocol's next click; or, but for ``exact``, one well inside an error, likelier the larger one.

    None where nothing is left to correct.
    """
    if random.random() < exact:
        return next_click(prediction, truth, clicked)
    missed = error_distance(truth & ~prediction) * ~clicked
    excess = error_distance(prediction & ~truth) * ~clicked
    total = missed.max() + excess.max()
    if total == 0:
        return None
    positive = bool(random.random() * total < missed.max())
    distance = missed if positive else excess
    return _pixel_of(distance, random, share=0.4, label=Label.POSITIVE if positive else Label.NEGATIVE)


def sample_box(truth: Mask, random: np.random.Generator) -> tuple[float, float, float, float]:
    """Draw the object's box as a hand draws it: each side off by about 3 % and 0.7 px, within the canvas."""
    x0, y0, x1, y1 = box_of(truth).bounds
    width, height = x1 - x0, y1 - y0
    sides = np.array([width, height, width, height])
    error = random.normal(0, 0.03, 4) * sides + random.normal(0, 0.7, 4)
    most = 0.2 * max(width, height)
    moved = np.clip(np.array([x0, y0, x1, y1]) + np.clip(error, -most, most), 0, CANVAS_SIZE)
    if moved[2] - moved[0] <= 2 or moved[3] - moved[1] <= 2:
        return x0, y0, x1, y1
    a, b, c, d = moved.tolist()
    return a, b, c, d


def _limit(random: np.random.Generator, mix: PromptMix) -> int:
    """Draw the answers of a session: often one, else about as often 2 to 5 as 6 to the most."""
    if random.random() < mix.single or mix.max_prompts == 1:
        return 1
    longest = mix.max_prompts
    short = random.random() < 0.5 or longest <= 6
    return int(random.integers(2, min(6, longest + 1))) if short else int(random.integers(6, longest + 1))


def _pixel_of(
    distance: NDArray[np.float64], random: np.random.Generator, *, share: float, label: Label
) -> SimulatedClick:
    """Draw any pixel whose distance to the edge is at least ``share`` of the greatest."""
    rows, columns = np.nonzero(distance >= max(share * distance.max(), np.finfo(float).tiny))
    index = int(random.integers(len(rows)))
    return SimulatedClick(int(columns[index]), int(rows[index]), label)


def _canvas_click(click: SimulatedClick) -> CanvasClick:
    return CanvasClick(float(click.x), float(click.y), click.label is Label.POSITIVE)
