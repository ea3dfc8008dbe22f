package io.github.qupathsam.client;

import java.awt.Graphics2D;
import java.util.ArrayList;
import java.util.List;

/** What a person draws with the button down: with Shift or Alt a stroke, else a box. Level-0 px. */
public final class Drawing {
    private final List<Point> points;
    private final boolean stroke;
    private final boolean positive;

    private Drawing(List<Point> points, boolean stroke, boolean positive) {
        this.points = points;
        this.stroke = stroke;
        this.positive = positive;
    }

    /** From where the button is pressed. Alt draws a stroke that takes away, Shift one that adds. */
    public static Drawing begin(double x, double y, boolean shift, boolean alt) {
        Drawing begun = new Drawing(new ArrayList<>(), shift || alt, !alt);
        begun.add(x, y);
        return begun;
    }

    public void add(double x, double y) {
        points.add(Point.of(x, y));
    }

    /** What of it lies in an image of this size; null where that is less than two points. */
    public Drawing within(int width, int height) {
        List<Point> inside = points.stream()
                .filter(point -> point.x() >= 0 && point.y() >= 0 && point.x() < width && point.y() < height)
                .toList();
        return inside.size() < 2 ? null : new Drawing(inside, stroke, positive);
    }

    public boolean isStroke() {
        return stroke;
    }

    public boolean isPositive() {
        return positive;
    }

    public List<Point> points() {
        return List.copyOf(points);
    }

    /** From the first point to the last; null where it has no area, and for a stroke. */
    public PixelBox box() {
        Point first = points.get(0);
        Point last = points.get(points.size() - 1);
        return stroke || first.x() == last.x() || first.y() == last.y()
                ? null
                : PixelBox.between(first.x(), first.y(), last.x(), last.y());
    }

    /** @param px level-0 px per px of the screen */
    public void paint(Graphics2D g, double px) {
        if (stroke && points.size() > 1) {
            ClickPainter.paintStroke(g, px, points, positive);
        } else if (box() != null) {
            ClickPainter.paintBox(g, px, box());
        }
    }
}
