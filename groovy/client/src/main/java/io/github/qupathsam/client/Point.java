package io.github.qupathsam.client;

/** A place in level-0 px, on pixel edges: the middle of the pixel in column i and row j is (i + 0.5, j + 0.5). */
public record Point(double x, double y) {
    public Point {
        if (!Double.isFinite(x) || !Double.isFinite(y)) {
            throw new SamException(
                    FailureReason.INVALID_PROMPT, "a point needs finite coordinates, got (" + x + ", " + y + ")");
        }
    }

    public static Point of(double x, double y) {
        return new Point(x, y);
    }

    double distance(Point other) {
        return Math.hypot(x - other.x, y - other.y);
    }
}
