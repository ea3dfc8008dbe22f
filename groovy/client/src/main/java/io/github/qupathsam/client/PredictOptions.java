package io.github.qupathsam.client;

import java.util.Map;
import java.util.Set;

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
 * @param clean of objects with an outline or a box: holes and parts below this share of the outline, or of the answer, 0 to 1, are filled and dropped; 0 keeps all
 * @param keepParts the answer to clicks may have parts that no click points at, and pinholes
 * @param batch nobody waits: the server answers while no person does, and holds nothing for a next click
 * @param preferEmbedded of the windows that the server may choose, one that is embedded already: faster, and the answer depends on that
 * @param closerLook where all masks of a first click are asked for and there are few, the server looks once more, closer, even where that
 *     takes longer
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
        boolean preferEmbedded,
        boolean closerLook,
        byte[] clip) {

    private static final double DEFAULT_CLEAN = 0.02;

    /** Which of the masks that a model offers for an ambiguous first click. */
    public enum Choice {
        BEST,
        ALL,
        LARGEST,
        SMALLEST
    }

    private static final Set<String> NAMES = Set.of(
            "model", "downsample", "mpp", "viewDownsample", "choice", "fillHoles", "minArea", "simplify", "clean",
            "keepParts", "batch", "preferEmbedded", "closerLook", "clip");

    public PredictOptions {
        for (double value : new double[] {downsample, mpp, viewDownsample, fillHoles, minArea, simplify, clean}) {
            if (!(value >= 0 && Double.isFinite(value))) {
                throw NamedValues.invalid("numbers must be at least 0, got " + value);
            }
        }
        if (clean > 1) {
            throw NamedValues.invalid("clean is a share between 0 and 1, got " + clean);
        }
        if (downsample > 0 && mpp > 0) {
            throw NamedValues.invalid("give downsample or mpp, not both");
        }
    }

    /** All left to the server. */
    public static PredictOptions none() {
        return of(Map.of());
    }

    /** From named values, as Groovy writes them: {@code PredictOptions.of(mpp: 0.5, minArea: 20)}. */
    public static PredictOptions of(Map<String, ?> given) {
        NamedValues values = new NamedValues(given, NAMES);
        Object clip = given.get("clip");
        return new PredictOptions(
                values.text("model"),
                values.number("downsample", 0),
                values.number("mpp", 0),
                values.number("viewDownsample", 0),
                values.one("choice", Choice.class),
                values.number("fillHoles", 0),
                values.number("minArea", 0),
                values.number("simplify", 0),
                values.number("clean", DEFAULT_CLEAN),
                values.truth("keepParts"),
                values.truth("batch"),
                values.truth("preferEmbedded"),
                values.truth("closerLook"),
                clip == null ? new byte[0] : (byte[]) clip);
    }

    public PredictOptions withClip(byte[] wkb) {
        return with(viewDownsample, preferEmbedded, closerLook, wkb.clone());
    }

    public PredictOptions withViewDownsample(double value) {
        return with(value, preferEmbedded, closerLook, clip);
    }

    public PredictOptions preferringEmbedded() {
        return with(viewDownsample, true, closerLook, clip);
    }

    PredictOptions lookingCloser() {
        return with(viewDownsample, preferEmbedded, true, clip);
    }

    private PredictOptions with(double view, boolean embedded, boolean closer, byte[] cut) {
        return new PredictOptions(
                model, downsample, mpp, view, choice, fillHoles, minArea, simplify, clean, keepParts, batch, embedded, closer, cut);
    }
}
