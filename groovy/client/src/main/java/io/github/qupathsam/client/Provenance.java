package io.github.qupathsam.client;

import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** What made a result: enough to make it again. */
public record Provenance(
        String model,
        String weightsSha256,
        String preprocessingVersion,
        String serverVersion,
        String imageFingerprint,
        String pixelSource,
        String device,
        double mpp,
        List<String> remarks) {

    private static final String PREFIX = "qupath-sam.";
    /** What scripts wrote before they and the command line agreed. */
    private static final Set<String> FORMER = Set.of(
            "SAM model", "SAM weights", "SAM preprocessing", "SAM server", "SAM image", "SAM pixels", "SAM clicks",
            "SAM view downsample");

    /**
     * As key and value for the metadata of an annotation: what {@code metadata_of} in {@code qupath_sam/qupath/annotations.py} writes; what is
     * unknown is left out.
     */
    public Map<String, String> metadata(SamResult result) {
        return metadata(result, result.best());
    }

    /** The same of one of the result's masks; null where there is none. */
    Map<String, String> metadata(SamResult result, SamMask mask) {
        Map<String, String> metadata = metadata();
        boolean elsewhere = mask != null && mask.window() != null;
        PixelRegion window = elsewhere ? mask.window() : result.window();
        if (window != null) {
            put(metadata, "window", window.x() + "," + window.y() + "," + window.width() + "," + window.height());
            put(metadata, "downsample", sixDigits(elsewhere ? mask.downsample() : result.downsample()));
        }
        // What is cut off in another window is not offered.
        put(metadata, "touches_edge", String.valueOf(result.touchesWindowEdge() && !elsewhere));
        return metadata;
    }

    /** What is the same of all objects of a call. */
    Map<String, String> metadata() {
        Map<String, String> metadata = new LinkedHashMap<>();
        put(metadata, "model", model);
        put(metadata, "weights", weightsSha256);
        put(metadata, "preprocessing", preprocessingVersion);
        put(metadata, "version", serverVersion);
        put(metadata, "image", imageFingerprint);
        put(metadata, "pixels", pixelSource);
        return metadata;
    }

    /** Whether an annotation's metadata say that a model has made it. */
    public static boolean isIn(Map<String, String> metadata) {
        return metadata.containsKey(PREFIX + "model") || metadata.containsKey("SAM model");
    }

    /** Writes what made an outline into an annotation's metadata, in place of what made the one before; all else stays. */
    public static void write(Map<String, String> made, Map<String, String> metadata) {
        metadata.keySet().removeIf(key -> key.startsWith(PREFIX) || FORMER.contains(key));
        metadata.putAll(made);
    }

    static void put(Map<String, String> metadata, String key, String value) {
        if (!value.isEmpty()) {
            metadata.put(PREFIX + key, value);
        }
    }

    /** As Python's format {@code g}. */
    private static String sixDigits(double value) {
        return new BigDecimal(value)
                .round(new MathContext(6, RoundingMode.HALF_EVEN))
                .stripTrailingZeros()
                .toPlainString();
    }
}
