package io.github.qupathsam.client;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The shapes that speak of one object.
 *
 * @param shapes the one that made it an object first
 */
public record PromptGroup(List<PromptShape> shapes) {

    /** The prompts of this object: its box, then clicks and scribbles, positive ones first. */
    public Prompts prompts() {
        PromptShape first = shapes.get(0);
        Prompts prompts = first.isBox()
                ? Prompts.box(first.box()[0], first.box()[1], first.box()[2], first.box()[3])
                : Prompts.of(List.of());
        for (boolean positive : new boolean[] {true, false}) {
            for (PromptShape shape : shapes) {
                for (Click click : shape.clicks()) {
                    prompts = shape.positive() == positive ? prompts.with(click) : prompts;
                }
            }
        }
        return prompts;
    }

    /** What the object takes its class and place from. */
    public Object source() {
        return shapes.get(0).source();
    }

    /** Everything that this object was made from. */
    public List<Object> sources() {
        return shapes.stream().map(PromptShape::source).toList();
    }

    /**
     * Shares shapes out among objects.
     *
     * <p>Every rectangle is an object. Positive points, lines and strokes refine the smallest rectangle that holds them; outside all
     * rectangles each is an object of its own. A negative shape belongs to the object that it is in or nearest to.
     *
     * @throws SamException where there are only negative shapes
     */
    public static List<PromptGroup> of(List<PromptShape> shapes) {
        Map<PromptShape, List<PromptShape>> objects = new LinkedHashMap<>();
        shapes.stream().filter(PromptShape::isBox).forEach(box -> objects.put(box, new ArrayList<>(List.of(box))));
        List<PromptShape> boxes = List.copyOf(objects.keySet());
        for (PromptShape shape : shapes) {
            if (!shape.isBox() && shape.positive()) {
                PromptShape box = smallestAround(boxes, shape);
                if (box != null) {
                    objects.get(box).add(shape);
                } else {
                    objects.put(shape, new ArrayList<>(List.of(shape)));
                }
            }
        }
        for (PromptShape shape : shapes) {
            if (!shape.positive()) {
                PromptShape box = smallestAround(boxes, shape);
                PromptShape owner = box != null ? box : nearest(objects, shape);
                if (owner == null) {
                    throw new SamException(
                            FailureReason.INVALID_PROMPT,
                            "there are only prompts of ignored classes (name ends with *); add one inside the object");
                }
                objects.get(owner).add(shape);
            }
        }
        return objects.values().stream().map(PromptGroup::new).toList();
    }

    private static PromptShape smallestAround(List<PromptShape> boxes, PromptShape shape) {
        Point centre = shape.bounds().centre();
        return boxes.stream()
                .filter(box -> box.bounds().contains(centre))
                .min(Comparator.comparingDouble(box -> box.bounds().area()))
                .orElse(null);
    }

    private static PromptShape nearest(Map<PromptShape, List<PromptShape>> objects, PromptShape shape) {
        return objects.keySet().stream()
                .min(Comparator.comparingDouble(candidate -> distance(candidate, shape)))
                .orElse(null);
    }

    private static double distance(PromptShape positive, PromptShape negative) {
        if (positive.isBox()) {
            Bounds box = positive.bounds();
            Point centre = negative.bounds().centre();
            return Math.hypot(
                    Math.max(0, Math.max(box.minX() - centre.x(), centre.x() - box.maxX())),
                    Math.max(0, Math.max(box.minY() - centre.y(), centre.y() - box.maxY())));
        }
        double nearest = Double.POSITIVE_INFINITY;
        for (Click here : positive.clicks()) {
            for (Click there : negative.clicks()) {
                for (Point a : here.points()) {
                    for (Point b : there.points()) {
                        nearest = Math.min(nearest, a.distance(b));
                    }
                }
            }
        }
        return nearest;
    }
}
