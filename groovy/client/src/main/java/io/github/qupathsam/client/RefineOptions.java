package io.github.qupathsam.client;

import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * How outlines are refined; what is not given is left to the server, which makes the prompts and judges the answers.
 *
 * @param point tell the model a point in the middle as well; false for models that were not trained on clicks
 * @param minIoU least intersection over union of old and new outline; null leaves it to the server, 0 takes all
 * @param minPartIoU the same of each part and hole; null leaves it to the server, 0 looks at none
 * @param maxAreaChange the area may become this many times larger or smaller; null leaves it to the server
 * @param minScore least score that the model gives itself, 0 to 1; null takes any
 * @param boxMargin share of its longer side by which the box for the model is wider than the outline; null leaves it to the server
 * @param anySize outlines larger than a window too; without, they are refused, so that no region is taken for an object
 * @param alongBorder outlines larger than a window are refined along their border, window by window, each in a call of its own, so
 *     that it has the whole patience of a call
 * @param remember the outlines are right and come back as they are, with tokens that name what the model remembers of them, for the
 *     next plane of a stack; {@link PropagationTask} asks so
 */
public record RefineOptions(
        boolean point,
        Double minIoU,
        Double minPartIoU,
        Double maxAreaChange,
        Double minScore,
        Double boxMargin,
        boolean anySize,
        boolean alongBorder,
        boolean remember) {
    private static final Set<String> NAMES =
            new TreeSet<>(Set.of("point", "minIoU", "minPartIoU", "maxAreaChange", "minScore", "boxMargin", "anySize", "alongBorder"));

    /** All left to the server. */
    public static RefineOptions none() {
        return of(Map.of());
    }

    /** From named values, as Groovy writes them: {@code RefineOptions.of(minIoU: 0.4)}. */
    public static RefineOptions of(Map<String, ?> values) {
        for (String name : values.keySet()) {
            if (!NAMES.contains(name)) {
                throw new SamException(
                        FailureReason.INVALID_REQUEST, "unknown option '" + name + "'; known: " + NAMES);
            }
        }
        return new RefineOptions(
                !Boolean.FALSE.equals(values.get("point")),
                number(values, "minIoU"),
                number(values, "minPartIoU"),
                number(values, "maxAreaChange"),
                number(values, "minScore"),
                number(values, "boxMargin"),
                Boolean.TRUE.equals(values.get("anySize")),
                Boolean.TRUE.equals(values.get("alongBorder")),
                false);
    }

    /** Without what is larger than a window. */
    RefineOptions inWindow() {
        return new RefineOptions(point, minIoU, minPartIoU, maxAreaChange, minScore, boxMargin, anySize, false, remember);
    }

    /** For the plane on which the outlines are right. */
    RefineOptions remembering() {
        return new RefineOptions(point, minIoU, minPartIoU, maxAreaChange, minScore, boxMargin, anySize, alongBorder, true);
    }

    private static Double number(Map<String, ?> values, String name) {
        Object value = values.get(name);
        if (value == null || value instanceof Number) {
            return value == null ? null : ((Number) value).doubleValue();
        }
        throw new SamException(FailureReason.INVALID_REQUEST, name + " must be a number, got '" + value + "'");
    }
}
