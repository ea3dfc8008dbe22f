package io.github.qupathsam.client;

import java.util.List;

/** One act of pointing: a click (one point) or a scribble (several), inside the object or, not positive, outside it. */
public record Click(List<Point> points, boolean positive) {
    public Click {
        if (points.isEmpty()) {
            throw new SamException(FailureReason.INVALID_PROMPT, "a click needs at least one point; leave empty ones out");
        }
        points = List.copyOf(points);
    }

    public static Click at(double x, double y, boolean positive) {
        return new Click(List.of(new Point(x, y)), positive);
    }
}
