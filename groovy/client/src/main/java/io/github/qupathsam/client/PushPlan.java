package io.github.qupathsam.client;

/**
 * Which part of an image to push for prompts, and how fine.
 *
 * <p>The server cuts its windows from what it holds, so that more than the object is pushed: room for the model to look round it,
 * and for the next clicks. Origins lie on a grid, so that neighbouring clicks ask for the same pixels.
 *
 * @param region inside the image, level-0 px
 * @param downsample level-0 px per pushed px; a power of two, at least 1
 */
record PushPlan(PixelRegion region, double downsample) {
    /** Side of what is pushed at once, pushed px: 12 MiB raw. */
    private static final int SIDE = 2048;
    /** A person looks at an object of about this many screen px; without a viewer, of this many level-0 px. */
    private static final double TYPICAL_OBJECT = 256;
    /** The longer side of an object is pushed at this many px to twice as many. */
    private static final double OBJECT_PX = 512;

    /** The plan for prompts within {@code bounds} (level-0 px), on an image of this size. */
    static PushPlan around(Bounds bounds, double viewDownsample, int imageWidth, int imageHeight) {
        double object = objectSize(bounds, viewDownsample);
        double downsample = 1;
        while (object / downsample >= 2 * OBJECT_PX) {
            downsample *= 2;
        }
        return at(bounds.centre(), downsample, imageWidth, imageHeight);
    }

    /** The plan for all that lies within {@code bounds}, at this downsample or the next finer power of two. */
    static PushPlan whole(Bounds bounds, double downsample, int imageWidth, int imageHeight) {
        double finer = 1;
        while (2 * finer <= downsample) {
            finer *= 2;
        }
        Bounds inside = bounds.grown(finer).within(new Bounds(0, 0, imageWidth, imageHeight));
        int x = (int) Math.floor(inside.minX());
        int y = (int) Math.floor(inside.minY());
        int width = (int) Math.ceil(inside.maxX()) - x;
        int height = (int) Math.ceil(inside.maxY()) - y;
        if (width < 1 || height < 1) {
            throw new SamException(FailureReason.INVALID_REGION, "the region lies outside the image; choose a region inside of it");
        }
        return new PushPlan(new PixelRegion(x, y, width, height), finer);
    }

    /** Room that an object needs round its prompts, level-0 px. */
    static double margin(Bounds bounds, double viewDownsample) {
        return objectSize(bounds, viewDownsample) / 2;
    }

    /** Twice the side at half the resolution, round the same place. */
    PushPlan coarser(int imageWidth, int imageHeight) {
        return at(region.bounds().centre(), 2 * downsample, imageWidth, imageHeight);
    }

    /** Whether something runs into an edge of the region beyond which the image goes on. */
    boolean cuts(Bounds bounds, int imageWidth, int imageHeight) {
        return (region.x() > 0 && bounds.minX() <= region.x())
                || (region.y() > 0 && bounds.minY() <= region.y())
                || (region.right() < imageWidth && bounds.maxX() >= region.right())
                || (region.bottom() < imageHeight && bounds.maxY() >= region.bottom());
    }

    private static double objectSize(Bounds bounds, double viewDownsample) {
        return Math.max(bounds.longerSide(), TYPICAL_OBJECT * (viewDownsample > 0 ? viewDownsample : 1));
    }

    private static PushPlan at(Point centre, double downsample, int imageWidth, int imageHeight) {
        int side = (int) Math.min(SIDE * downsample, Math.max(imageWidth, imageHeight));
        int width = Math.min(side, imageWidth);
        int height = Math.min(side, imageHeight);
        int x = onGrid(centre.x() - side / 2.0, side / 4, imageWidth - width);
        int y = onGrid(centre.y() - side / 2.0, side / 4, imageHeight - height);
        return new PushPlan(new PixelRegion(x, y, width, height), downsample);
    }

    private static int onGrid(double wanted, int step, int highest) {
        long snapped = Math.round(wanted / Math.max(1, step)) * Math.max(1, step);
        return (int) Math.max(0, Math.min(snapped, highest));
    }
}
