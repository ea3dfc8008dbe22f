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
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from qupath_sam.datasets.perturbed_outlines import perturbed_outline
from qupath_sam.datasets.simulated_clicks import SimulatedClick, error_distance, next_click
from qupath_sam.engine.logits import OUTLINE_LOGIT
from qupath_sam.networks.canvas import VIEW_SIZE, ViewClick, ViewPrompts
from qupath_sam.types.masks import Mask, box_of
from qupath_sam.types.prompts import Label


class Start(enum.Enum):
    """What a session begins with."""

    CLICK = "click"
    BOX = "box"
    OUTLINE = "outline"


@dataclass(frozen=True, slots=True)
class PromptMix:
    """How sessions are drawn. The shares were found on training groups; most are short, as first clicks matter most.

    Attributes:
        boxes, outlines: shares of sessions that begin with them; the others begin with a click.
        single: share of sessions that end with the first answer.
        max_prompts: of one session.
        exact: share of clicks in the very middle of the error, as the protocol clicks.
        unions: share of targets that are an object with some of its neighbours.
    """

    boxes: float = 0.20
    outlines: float = 0.18
    single: float = 0.45
    max_prompts: int = 20
    exact: float = 0.75
    unions: float = 0.08


@dataclass(slots=True, eq=False)
class Session:
    """One object of one view that is being prompted.

    Attributes:
        view: index of the view.
        truth: bool ``(256, 256)``, not empty.
        start: what it began with.
        limit: answers after which it ends.
        clicks: so far.
        box: ``(min_x, min_y, max_x, max_y)`` on pixel edges, or None.
        previous: the logits so far ``(256, 256)``, or None.
        answers: how many have been given.
    """

    view: int
    truth: Mask
    start: Start
    limit: int
    clicks: tuple[ViewClick, ...] = ()
    box: tuple[float, float, float, float] | None = None
    previous: Tensor | None = None
    answers: int = 0

    def prompts(self) -> ViewPrompts:
        """What is asked next."""
        newest = 1 if self.clicks else 0
        return ViewPrompts(self.clicks, newest=newest, box=self.box, previous=self.previous)

    def clicked_error(self) -> Mask:
        """The connected part of the last answer's error that the newest click points at, bool ``(256, 256)``.

        Empty where there is no answer yet, or the click was not on an error.
        """
        if self.previous is None or not self.clicks:
            return np.zeros_like(self.truth)
        error = (self.previous > 0).numpy() != self.truth
        components, _ = ndimage.label(error)
        number = components[self.clicks[-1].pixel]
        pointed_at: Mask = (components == number) & error
        return pointed_at

    def go_on(self, logits: Tensor, random: np.random.Generator, mix: PromptMix) -> bool:
        """Take the model's answer in and click its error; False where the session ends.

        Args:
            logits: ``(256, 256)`` without gradient.
            random: of the click.
            mix: how it is drawn.
        """
        self.previous = logits.detach().to("cpu", torch.float32)
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
        self.clicks = (*self.clicks, _view_click(following))
        return True


def start_session(
    view: int, labels: NDArray[np.int32], targets: tuple[int, ...], random: np.random.Generator, mix: PromptMix
) -> Session:
    """A new session on an object of a view.

    Raises:
        ValueError: the view has no target.
    """
    truth = choose_target(labels, targets, random, mix)
    drawn = random.random()
    start = Start.BOX if drawn < mix.boxes else Start.OUTLINE if drawn < mix.boxes + mix.outlines else Start.CLICK
    session = Session(view, truth, start, _limit(random, mix))
    if start is Start.CLICK:
        session.clicks = (_view_click(sample_first_click(truth, random, exact=mix.exact)),)
    elif start is Start.BOX:
        session.box = sample_box(truth, random)
    else:
        outline = perturbed_outline(truth, seed=int(random.integers(2**31)), iou=float(random.uniform(0.55, 0.9)))
        session.previous = torch.from_numpy(np.where(outline, OUTLINE_LOGIT, -OUTLINE_LOGIT).astype(np.float32))
        if random.random() < 0.8:  # the engine gives an outline's box with it
            session.box = box_of(outline).bounds
    return session


def choose_target(
    labels: NDArray[np.int32], targets: tuple[int, ...], random: np.random.Generator, mix: PromptMix
) -> Mask:
    """One labelled object, or a union of neighbours: people also ask for groups of glands.

    Raises:
        ValueError: there is none.
    """
    if not targets:
        raise ValueError("a view without targets cannot be clicked")
    mask: Mask = labels == targets[int(random.integers(len(targets)))]
    if len(targets) > 1 and random.random() < mix.unions:
        for _ in range(int(random.integers(1, 4))):
            around = ndimage.binary_dilation(mask, iterations=7) & ~mask
            near = np.unique(labels[around])
            near = near[near != 0]
            if not len(near):
                break
            mask = mask | (labels == near[int(random.integers(len(near)))])
    return mask


def sample_first_click(truth: Mask, random: np.random.Generator, *, exact: float) -> SimulatedClick:
    """A positive click inside the object: with ``exact`` its middle, else any pixel not close to its edge."""
    distance = error_distance(truth)
    share = 1.0 if random.random() < exact else 0.35
    return _pixel_of(distance, random, share=share, label=Label.POSITIVE)


def sample_next_click(
    prediction: Mask, truth: Mask, clicked: Mask, random: np.random.Generator, *, exact: float
) -> SimulatedClick | None:
    """The protocol's next click; or, but for ``exact``, one well inside either kind of error, likelier the larger one.

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
    """The object's box as a hand draws it: each side off by about 3 % and 0.7 px, within the view."""
    x0, y0, x1, y1 = box_of(truth).bounds
    width, height = x1 - x0, y1 - y0
    sides = np.array([width, height, width, height])
    error = random.normal(0, 0.03, 4) * sides + random.normal(0, 0.7, 4)
    most = 0.2 * max(width, height)
    moved = np.clip(np.array([x0, y0, x1, y1]) + np.clip(error, -most, most), 0, VIEW_SIZE)
    if moved[2] - moved[0] <= 2 or moved[3] - moved[1] <= 2:
        return x0, y0, x1, y1
    a, b, c, d = moved.tolist()
    return a, b, c, d


def _limit(random: np.random.Generator, mix: PromptMix) -> int:
    """Answers of a session: often one, else about as often 2 to 5 as 6 to the most."""
    if random.random() < mix.single or mix.max_prompts == 1:
        return 1
    longest = mix.max_prompts
    short = random.random() < 0.5 or longest <= 6
    return int(random.integers(2, min(6, longest + 1))) if short else int(random.integers(6, longest + 1))


def _pixel_of(
    distance: NDArray[np.float64], random: np.random.Generator, *, share: float, label: Label
) -> SimulatedClick:
    """Any pixel whose distance to the edge is at least ``share`` of the greatest."""
    rows, columns = np.nonzero(distance >= max(share * distance.max(), np.finfo(float).tiny))
    index = int(random.integers(len(rows)))
    return SimulatedClick(int(columns[index]), int(rows[index]), label)


def _view_click(click: SimulatedClick) -> ViewClick:
    return ViewClick(float(click.x), float(click.y), click.label is Label.POSITIVE)
