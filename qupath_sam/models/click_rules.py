"""What a click may change, and how far a box reaches: rules on the new logits that see the prompts and the mask so far.

Progressive merge is FocalClick's (Chen et al. 2022, sec. 3.3): of all that changed, only the connected part that the
click points at is taken. There it guards a given mask; here it guards what earlier clicks have confirmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qupath_sam.models.one_object import in_one_piece
from qupath_sam.models.outline_rule import held_to_outline
from qupath_sam.models.removal import limit_removal
from qupath_sam.networks.canvas import CanvasClick, CanvasPrompts, squared_distance

Logits = NDArray[np.float32]

#: Logit of a pixel that a rule puts on the other side.
FORCED_LOGIT = 1.0
#: A hole is a pinhole below this many canvas px.
PINHOLE_AREA = 5


@dataclass(frozen=True, slots=True)
class ClickRules:
    """Which rules hold, and from which click on.

    Attributes:
        clicks: whether clicks end on their side and changes may have to hang together with them; else the three rules
            below do not hold.
        forced_radius: pixels this near a click (canvas px) end on its side.
        merge_from: number of the click from which changes must hang together with the newest click; None for never.
        merge_near: a changed part counts as hanging together with a click when it comes this near (canvas px).
        white: whether a click into white takes away white alone; see `qupath_sam.models.removal`.
        one_object: what is answered to clicks alone hangs together; see `keep_clicked_parts`.
        outlines: whether an unsure answer keeps near the outline that it refines; see `held_to_outline`.
        box_share, box_margin: a box that comes alone holds all of its object, but for this share of its side or this
            many canvas px, whichever is more: boxes are drawn by hand.
    """

    clicks: bool = True
    forced_radius: float = 0.75
    merge_from: int | None = 5
    merge_near: float = 1.5
    white: bool = True
    one_object: bool = True
    outlines: bool = False
    box_share: float = 0.05
    box_margin: float = 2.0


def apply_rules(
    logits: Logits,
    prompts: Sequence[CanvasPrompts],
    rules: ClickRules,
    *,
    ruled: int,
    scores: Sequence[NDArray[np.float32]] | None = None,
    rgb: NDArray[np.uint8] | None = None,
) -> list[Logits]:
    """Apply all rules to the answers of B prompts.

    Args:
        logits: float32 ``(B, M, 256, 256)`` over the canvas, the best mask first; left as they are.
        prompts: B of them.
        rules: which hold.
        ruled: in how many of the masks, from the first on, the clicks and the box are enforced: in those for which
            there is a refinement head.
        scores: of each prompt's masks, ``(M,)``, for `held_to_outline`; None does without.
        rgb: uint8 ``(256, 256, 3)`` of the canvas, for `limit_removal`; None does without.

    Returns:
        B of float32 ``(M, 256, 256)``.
    """
    results = []
    for place, (masks, prompt) in enumerate(zip(logits, prompts, strict=True)):
        clicked = [apply_click_rules(each, prompt, rules, rgb=rgb) for each in masks[:ruled]]
        enforced = [apply_box_rule(each, prompt, rules) for each in clicked]
        if rules.outlines and scores is not None and prompt.previous is not None and prompt.is_outline:
            outline = prompt.previous.cpu().numpy()
            own = zip(enforced, scores[place].tolist(), strict=False)
            enforced = [held_to_outline(each, outline, score) for each, score in own]
        every = [*enforced, *masks[ruled:]]
        if rules.one_object:
            every = [keep_clicked_parts(each, prompt) for each in every]
        results.append(np.stack(every))
    return results


def keep_clicked_parts(logits: Logits, prompts: CanvasPrompts) -> Logits:
    """Return the logits of one object that hangs together, for prompts of clicks alone; see `in_one_piece`.

    With a box or an outline (a mask before the first click) several parts may be meant: all stay.

    Args:
        logits: float32 ``(256, 256)`` over the canvas; left as they are.
        prompts: what was asked.
    """
    if prompts.box is not None or prompts.keep_parts:
        return logits
    mask = logits > 0
    positive = [click.pixel for click in prompts.clicks if click.positive]
    negative = [click.pixel for click in prompts.clicks if not click.positive]
    kept = in_one_piece(mask, positive, negative, pinhole_area=PINHOLE_AREA)
    dropped = np.where(mask & ~kept, np.minimum(logits, -FORCED_LOGIT), logits)
    return np.where(kept & ~mask, np.maximum(dropped, FORCED_LOGIT), dropped).astype(np.float32)


def apply_click_rules(
    logits: Logits, prompts: CanvasPrompts, rules: ClickRules, *, rgb: NDArray[np.uint8] | None = None
) -> Logits:
    """Return the new logits as far as the newest clicks may change the old ones.

    Args:
        logits: float32 ``(256, 256)`` over the canvas, after the newest clicks; left as they are.
        prompts: what was asked, with the logits before. Without a newest click there is nothing to judge by, and the
            logits come back unchanged.
        rules: which hold.
        rgb: see `apply_rules`.
    """
    newest = prompts.new_clicks
    if not newest:
        return logits
    result = logits.copy()
    if rules.white and rgb is not None and takes_away(prompts):
        assert prompts.previous is not None
        positive = [click for click in prompts.clicks if click.positive]
        result = limit_removal(result, prompts.previous.cpu().numpy(), newest[0], positive, rgb)
    if not rules.clicks:
        return result
    for click in newest:
        _put(result, click, squared_distance(click) <= max(rules.forced_radius, 0.75) ** 2)
    earlier = prompts.clicks[: len(prompts.clicks) - len(newest)]
    if prompts.previous is not None:
        result = _held(result, prompts.previous.cpu().numpy(), earlier, newest)
    if prompts.previous is not None and rules.merge_from is not None and len(prompts.clicks) >= rules.merge_from:
        result = _merged(result, prompts.previous.cpu().numpy(), prompts, rules)
    for click in earlier:
        row, column = click.pixel
        if (result[row, column] > 0) != click.positive:
            result[row, column] = FORCED_LOGIT if click.positive else -FORCED_LOGIT
    for click in newest:  # has the last word, also where an earlier one was made on the same pixel
        row, column = click.pixel
        _put(result, click, (slice(row, row + 1), slice(column, column + 1)))
    return result


def takes_away(prompts: CanvasPrompts) -> bool:
    """Return whether the answer is for one click that takes away from a mask; a stroke is several."""
    newest = prompts.new_clicks
    return prompts.previous is not None and len(newest) == 1 and not newest[0].positive


def apply_box_rule(logits: Logits, prompts: CanvasPrompts, rules: ClickRules) -> Logits:
    """Return the logits with nothing far outside a box that came alone; unchanged for other prompts.

    Args:
        logits: float32 ``(256, 256)`` over the canvas; left as they are.
        prompts: what was asked.
        rules: how far outside is far.
    """
    if prompts.box is None or not prompts.is_box_alone:
        return logits
    min_x, min_y, max_x, max_y = prompts.box
    along_x = max(rules.box_margin, rules.box_share * (max_x - min_x))
    along_y = max(rules.box_margin, rules.box_share * (max_y - min_y))
    rows, columns = (np.arange(side) + 0.5 for side in logits.shape)
    inside_x = (columns >= min_x - along_x) & (columns <= max_x + along_x)
    inside_y = (rows >= min_y - along_y) & (rows <= max_y + along_y)
    inside = inside_y[:, None] & inside_x[None, :]
    bounded: Logits = np.where(inside, logits, np.minimum(logits, -FORCED_LOGIT))
    return bounded


def _held(new: Logits, old: Logits, earlier: Sequence[CanvasClick], newest: Sequence[CanvasClick]) -> Logits:
    """Return new logits, with the old ones round earlier clicks whose pixel the newest would put on the other side.

    Of the changed part that holds such a click, what is nearer to it than to every newest click stays as it was: a
    stroke or click shares the ground with the ones before it, and leaves them more than their own pixels.
    """
    lost = [
        click
        for click in earlier
        if (new[click.pixel] > 0) != click.positive and (old[click.pixel] > 0) == click.positive
    ]
    if not lost:
        return new
    changed = (new > 0) != (old > 0)
    components, _ = ndimage.label(changed)
    there = changed & np.isin(components, [components[click.pixel] for click in lost])
    nearer = _least_distance(lost) < _least_distance(newest)
    held: Logits = np.where(there & nearer, old, new)
    return held


def _least_distance(clicks: Sequence[CanvasClick]) -> NDArray[np.float64]:
    distance: NDArray[np.float64] = np.minimum.reduce([squared_distance(click) for click in clicks])
    return distance


def _merged(new: Logits, old: Logits, prompts: CanvasPrompts, rules: ClickRules) -> Logits:
    """Return old logits where a change is refused. Where both have the same side, the new may be surer."""
    changed = (new > 0) != (old > 0)
    components, _ = ndimage.label(changed)
    kept = np.zeros_like(changed)
    for click in prompts.new_clicks:
        near = np.unique(components[(squared_distance(click) <= max(rules.merge_near, 0.75) ** 2) & changed])
        kept |= np.isin(components, near)
    merged: Logits = np.where(kept | ~changed, new, old)
    return merged


def _put(logits: Logits, click: CanvasClick, where: NDArray[np.bool_] | tuple[slice, slice]) -> None:
    """Put the pixels of ``where`` on the click's side, in place."""
    if click.positive:
        logits[where] = np.maximum(logits[where], FORCED_LOGIT)
    else:
        logits[where] = np.minimum(logits[where], -FORCED_LOGIT)
