package io.github.qupathsam.client;

import java.util.List;

/**
 * One act of pointing: a click (one point) or a scribble (several), inside the object or, not positive, outside it.
 *
 * @param fromMask which mask of the answer before ({@link SamMask#index}) it goes on from; {@link #FROM_BEST} leaves that to the options
 * @param sameStep whether it is taken in one step with the click before it: both were made on the same outline
 */
public record Click(List<Point> points, boolean positive, int fromMask, boolean sameStep) {
    public static final int FROM_BEST = -1;

    public Click {
        if (points.isEmpty()) {
            throw new SamException(FailureReason.INVALID_PROMPT, "a click needs at least one point; leave empty ones out");
        }
        points = List.copyOf(points);
    }

    public Click(List<Point> points, boolean positive) {
        this(points, positive, FROM_BEST, false);
    }

    public static Click at(double x, double y, boolean positive) {
        return new Click(List.of(new Point(x, y)), positive);
    }

    /** The same, going on from another mask of the answer before. */
    public Click from(int mask) {
        return new Click(points, positive, mask, false);
    }

    /** The same, taken in one step with the click before it, from the mask before both. */
    public Click withTheOneBefore() {
        return new Click(points, positive, FROM_BEST, true);
    }
}
