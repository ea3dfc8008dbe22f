package io.github.qupathsam.client;

import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * Which model and pixels to use, and what to do to the outlines.
 *
 * <p>Lengths are um and areas um2; on images without a pixel size they are level-0 px and px2.
 *
 * @param model empty takes the server's default
 * @param downsample level-0 px per window px; 0 lets the server choose. At most one of downsample and mpp
 * @param mpp um per window px; 0 lets the server choose
 * @param viewDownsample the downsample at which a person looks at the image; 0 without a viewer
 * @param choice which mask of an ambiguous first click: BEST, ALL, LARGEST, SMALLEST
 * @param fillHoles holes up to this area are filled
 * @param minArea parts below this area are dropped
 * @param simplify how far the outline may move to have fewer vertices
 * @param clean of objects with an outline: holes and parts below this share of it, 0 to 1, are filled and dropped; 0 keeps all
 * @param keepParts the answer to clicks may have parts that no click points at, and pinholes
 * @param batch nobody waits: the server answers while no person does, and holds nothing for a next click
 * @param clip outlines are cut to this Polygon or MultiPolygon (WKB, level-0 px); empty cuts nothing
 */
public record PredictOptions(
        String model,
        double downsample,
        double mpp,
        double viewDownsample,
        Choice choice,
        double fillHoles,
        double minArea,
        double simplify,
        double clean,
        boolean keepParts,
        boolean batch,
        byte[] clip) {

    private static final double DEFAULT_CLEAN = 0.02;

    /** Which of the masks that a model offers for an ambiguous first click. */
    public enum Choice {
        BEST,
        ALL,
        LARGEST,
        SMALLEST
    }

    private static final Set<String> NAMES = new TreeSet<>(Set.of(
            "model", "downsample", "mpp", "viewDownsample", "choice", "fillHoles", "minArea", "simplify", "clean",
            "keepParts", "batch", "clip"));

    public PredictOptions {
        for (double value : new double[] {downsample, mpp, viewDownsample, fillHoles, minArea, simplify, clean}) {
            if (!(value >= 0 && Double.isFinite(value))) {
                throw invalid("numbers must be at least 0, got " + value);
            }
        }
        if (clean > 1) {
            throw invalid("clean is a share between 0 and 1, got " + clean);
        }
        if (downsample > 0 && mpp > 0) {
            throw invalid("give downsample or mpp, not both");
        }
    }

    /** All left to the server. */
    public static PredictOptions none() {
        return of(Map.of());
    }

    /** From named values, as Groovy writes them: {@code PredictOptions.of(mpp: 0.5, minArea: 20)}. */
    public static PredictOptions of(Map<String, ?> values) {
        for (String name : values.keySet()) {
            if (!NAMES.contains(name)) {
                throw invalid("unknown option '" + name + "'; known: " + NAMES);
            }
        }
        Object clip = values.get("clip");
        Object model = values.get("model");
        return new PredictOptions(
                model == null ? "" : model.toString(),
                number(values, "downsample"),
                number(values, "mpp"),
                number(values, "viewDownsample"),
                choice(values.get("choice")),
                number(values, "fillHoles"),
                number(values, "minArea"),
                number(values, "simplify"),
                values.get("clean") == null ? DEFAULT_CLEAN : number(values, "clean"),
                truth(values, "keepParts"),
                truth(values, "batch"),
                clip == null ? new byte[0] : (byte[]) clip);
    }

    public PredictOptions withClip(byte[] wkb) {
        return new PredictOptions(
                model, downsample, mpp, viewDownsample, choice, fillHoles, minArea, simplify, clean, keepParts, batch, wkb.clone());
    }

    public PredictOptions withViewDownsample(double value) {
        return new PredictOptions(
                model, downsample, mpp, value, choice, fillHoles, minArea, simplify, clean, keepParts, batch, clip);
    }

    private static double number(Map<String, ?> values, String name) {
        Object value = values.get(name);
        if (value == null) {
            return 0;
        }
        if (value instanceof Number given) {
            return given.doubleValue();
        }
        throw invalid(name + " must be a number, got '" + value + "'");
    }

    private static boolean truth(Map<String, ?> values, String name) {
        Object value = values.get(name);
        if (value == null) {
            return false;
        }
        if (value instanceof Boolean given) {
            return given;
        }
        throw invalid(name + " must be true or false, got '" + value + "'");
    }

    private static Choice choice(Object value) {
        if (value == null) {
            return Choice.BEST;
        }
        try {
            return Choice.valueOf(value.toString().toUpperCase(Locale.ROOT));
        } catch (IllegalArgumentException unknown) {
            throw invalid("choice must be best, all, largest or smallest, got '" + value + "'");
        }
    }

    private static SamException invalid(String message) {
        return new SamException(FailureReason.INVALID_REQUEST, message);
    }
}
