package io.github.qupathsam.client;

/**
 * From an outline that an object has to the prompts that ask for a better one: the outline as mask prompt, its box, a little wider, and
 * one point in its middle, which lets go of the old outline. The same as {@code qupath_sam/engine/refine_prompts.py} makes by default.
 */
final class OutlinePrompts {
    /** By what share of its longer side the box is wider. */
    private static final double BOX_MARGIN = 0.05;

    private OutlinePrompts() {}

    /**
     * @param wkb of a 2-D Polygon or MultiPolygon, level-0 px
     * @param point false for models that were not trained on clicks
     * @throws SamException INVALID_PROMPT where nothing of the outline lies in the image
     */
    static Prompts of(byte[] wkb, SamImage image, boolean point) {
        Prompts outline = Prompts.outline(wkb);
        Bounds extent = new Bounds(0, 0, image.width(), image.height());
        Bounds bounds = outline.bounds();
        Prompts prompts = outline.inBox(bounds.grown(BOX_MARGIN * bounds.longerSide()).within(extent));
        Point innermost = point ? InnermostPoint.of(Wkb.shape(wkb), bounds.within(extent)) : null;
        return innermost == null ? prompts : prompts.add(innermost.x(), innermost.y());
    }
}
