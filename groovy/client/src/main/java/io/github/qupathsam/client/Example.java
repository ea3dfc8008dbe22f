package io.github.qupathsam.client;

/**
 * An object that the objects of a region should look like or, not positive, should not.
 *
 * @param outline WKB, level-0 px; null where there is a click only
 * @param click in the object, level-0 px; null where there is an outline
 */
public record Example(byte[] outline, Point click, boolean positive) {
    public Example {
        if ((outline == null) == (click == null)) {
            throw new SamException(FailureReason.INVALID_PROMPT, "an example is an outline or a click; give one of them");
        }
    }

    /** An object with an outline, as {@link Outlines#wkb} writes it. */
    public static Example outline(byte[] wkb, boolean positive) {
        return new Example(wkb.clone(), null, positive);
    }

    /** A click in an object; the server outlines it first. */
    public static Example click(double x, double y, boolean positive) {
        return new Example(null, new Point(x, y), positive);
    }
}
