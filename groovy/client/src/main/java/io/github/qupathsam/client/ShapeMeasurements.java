package io.github.qupathsam.client;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;

/**
 * Measurements of an object's shape: wrong as soon as the outline has changed.
 *
 * <p>The same rule as {@code qupath_sam.project.measurements}: QuPath's shape features, with a prefix such as "Nucleus: " for parts of
 * cells; intensity features over a region or round its centre, which begin with "ROI: ", "Square: " or "Circle: " and state a
 * resolution; and what a pixel classifier has found in the outline: "Tumor area \u00b5m^2", and "Tumor %" beside it. Ours are what a
 * model said of its outline.
 */
public final class ShapeMeasurements {
    private static final Pattern SHAPE = Pattern.compile(
            "(?:(?:Nucleus|Cell|Cytoplasm|Membrane|ROI)(?:/Cell)?:? )?"
                    + "(?:Area|Length|Perimeter|Circularity|Solidity|Eccentricity|area ratio"
                    + "|(?:Max|Min|Maximum|Minimum) (?:diameter|caliper)|Centroid [XY])"
                    + "(?: (?:\u00b5m|um|px|pixels)(?:\\^2|\u00b2)?)?",
            Pattern.CASE_INSENSITIVE);
    private static final Pattern INTENSITY = Pattern.compile("(?:ROI|Square|Circle): .+ per pixel: .*");
    private static final List<String> AREAS = List.of(" area \u00b5m^2", " area mm^2", " area px^2");
    private static final Set<String> OURS = Set.of("SAM score", "SAM IoU with old outline");
    private static final String SHARE = " %";

    private ShapeMeasurements() {}

    /**
     * Whether a measurement of this name was computed from the object's own outline.
     *
     * @param names of all measurements of the object: only they tell a pixel classifier's share from another percentage
     */
    public static boolean isOne(String name, Set<String> names) {
        if (OURS.contains(name) || SHAPE.matcher(name).matches() || INTENSITY.matcher(name).matches()) {
            return true;
        }
        if (AREAS.stream().anyMatch(name::endsWith)) {
            return true;
        }
        return name.endsWith(SHARE)
                && AREAS.stream()
                        .anyMatch(area -> names.contains(name.substring(0, name.length() - SHARE.length()) + area));
    }

    /** The measurements that a new outline leaves right, in their order. */
    public static Map<String, Number> kept(Map<String, ? extends Number> measurements) {
        Map<String, Number> kept = new LinkedHashMap<>();
        measurements.forEach((name, value) -> {
            if (!isOne(name, measurements.keySet())) {
                kept.put(name, value);
            }
        });
        return kept;
    }
}
