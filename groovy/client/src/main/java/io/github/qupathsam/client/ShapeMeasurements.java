package io.github.qupathsam.client;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.regex.Pattern;

/**
 * Measurements of an object's shape: wrong as soon as the outline has changed.
 *
 * <p>The same rule as {@code qupath_sam.project.measurements}: QuPath's shape features, with a prefix such as "Nucleus: " for parts of
 * cells, and intensity features over a region, which begin with "ROI: " and state a resolution.
 */
public final class ShapeMeasurements {
    private static final Pattern SHAPE = Pattern.compile(
            "(?:(?:Nucleus|Cell|Cytoplasm|Membrane|ROI)(?:/Cell)?:? )?"
                    + "(?:Area|Length|Perimeter|Circularity|Solidity|Eccentricity|area ratio"
                    + "|(?:Max|Min|Maximum|Minimum) (?:diameter|caliper)|Centroid [XY])"
                    + "(?: (?:\u00b5m|um|px|pixels)(?:\\^2|\u00b2)?)?",
            Pattern.CASE_INSENSITIVE);
    private static final Pattern INTENSITY = Pattern.compile("ROI: .+ per pixel: .*");

    private ShapeMeasurements() {}

    /** Whether a measurement of this name was computed from the object's own outline. */
    public static boolean isOne(String name) {
        return SHAPE.matcher(name).matches() || INTENSITY.matcher(name).matches();
    }

    /** The measurements that a new outline leaves right, in their order. */
    public static Map<String, Number> kept(Map<String, ? extends Number> measurements) {
        Map<String, Number> kept = new LinkedHashMap<>();
        measurements.forEach((name, value) -> {
            if (!isOne(name)) {
                kept.put(name, value);
            }
        });
        return kept;
    }
}
