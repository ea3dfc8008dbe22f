package io.github.qupathsam.client;

/** A rectangle round an object, level-0 px; max is larger than min in both axes. */
public record PixelBox(double minX, double minY, double maxX, double maxY) {
    public PixelBox {
        if (!(minX < maxX && minY < maxY) || !Double.isFinite(maxX - minX) || !Double.isFinite(maxY - minY)) {
            throw new SamException(
                    FailureReason.INVALID_PROMPT,
                    "a box needs a positive width and height, got " + (maxX - minX) + " x " + (maxY - minY));
        }
    }

    /** Between two corners, whichever they are. */
    public static PixelBox between(double x0, double y0, double x1, double y1) {
        return new PixelBox(Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1));
    }
}
