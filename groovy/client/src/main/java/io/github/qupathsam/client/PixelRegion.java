package io.github.qupathsam.client;

/** A rectangle in level-0 px. */
public record PixelRegion(int x, int y, int width, int height) {
    public PixelRegion {
        if (width < 1 || height < 1) {
            throw new SamException(
                    FailureReason.INVALID_REGION, "a region needs at least 1 x 1 px, got " + width + " x " + height);
        }
    }

    public static PixelRegion of(int x, int y, int width, int height) {
        return new PixelRegion(x, y, width, height);
    }

    int right() {
        return x + width;
    }

    int bottom() {
        return y + height;
    }

    Bounds bounds() {
        return new Bounds(x, y, right(), bottom());
    }

    boolean encloses(Bounds bounds) {
        return x <= bounds.minX() && y <= bounds.minY() && bounds.maxX() <= right() && bounds.maxY() <= bottom();
    }
}
