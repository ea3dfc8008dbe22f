package io.github.qupathsam.client;

/** The smallest rectangle round something, level-0 px. */
record Bounds(double minX, double minY, double maxX, double maxY) {
    static Bounds of(Point point) {
        return new Bounds(point.x(), point.y(), point.x(), point.y());
    }

    Bounds with(Bounds other) {
        return new Bounds(
                Math.min(minX, other.minX),
                Math.min(minY, other.minY),
                Math.max(maxX, other.maxX),
                Math.max(maxY, other.maxY));
    }

    Bounds grown(double by) {
        return new Bounds(minX - by, minY - by, maxX + by, maxY + by);
    }

    /** The part inside other bounds; turned inside out where there is none. */
    Bounds within(Bounds other) {
        return new Bounds(
                Math.max(minX, other.minX),
                Math.max(minY, other.minY),
                Math.min(maxX, other.maxX),
                Math.min(maxY, other.maxY));
    }

    double longerSide() {
        return Math.max(maxX - minX, maxY - minY);
    }

    double area() {
        return (maxX - minX) * (maxY - minY);
    }

    Point centre() {
        return new Point((minX + maxX) / 2, (minY + maxY) / 2);
    }

    boolean contains(Point point) {
        return minX <= point.x() && point.x() <= maxX && minY <= point.y() && point.y() <= maxY;
    }
}
