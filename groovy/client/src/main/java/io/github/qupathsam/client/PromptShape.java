package io.github.qupathsam.client;

import java.awt.Shape;
import java.util.List;

/**
 * A drawn shape as a prompt, level-0 px.
 *
 * @param source what it was made from (QuPath's object), for the caller
 * @param clicks a click for each point, or one scribble; empty for a box
 * @param box min x, min y, max x, max y; null unless the shape is a rectangle
 * @param positive whether it lies in the object
 */
public record PromptShape(Object source, List<Click> clicks, double[] box, boolean positive) {

    /** Points: a click each. */
    public static PromptShape points(Object source, List<Point> points, boolean positive) {
        return new PromptShape(
                source,
                points.stream().map(point -> new Click(List.of(point), positive)).toList(),
                null,
                positive);
    }

    /** A line: one scribble. */
    public static PromptShape line(Object source, List<Point> line, boolean positive) {
        return new PromptShape(source, List.of(new Click(Strokes.alongLine(line), positive)), null, positive);
    }

    /** A brush stroke: one scribble along its middle. */
    public static PromptShape stroke(Object source, Shape area, boolean positive) {
        return new PromptShape(source, List.of(new Click(Strokes.alongArea(area), positive)), null, positive);
    }

    /** A rectangle round an object. */
    public static PromptShape box(Object source, double x, double y, double width, double height) {
        return new PromptShape(source, List.of(), new double[] {x, y, x + width, y + height}, true);
    }

    boolean isBox() {
        return box != null;
    }

    Bounds bounds() {
        return isBox()
                ? new Bounds(box[0], box[1], box[2], box[3])
                : clicks.stream()
                        .flatMap(click -> click.points().stream())
                        .map(Bounds::of)
                        .reduce(Bounds::with)
                        .orElseThrow();
    }
}
