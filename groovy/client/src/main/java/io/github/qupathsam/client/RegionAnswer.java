package io.github.qupathsam.client;

import java.util.List;
import java.util.Map;

/**
 * All objects of a region.
 *
 * @param found in the server's order
 * @param provenance what made them
 * @param progress at the end
 */
public record RegionAnswer(List<Found> found, Provenance provenance, RegionProgress progress) {
    /**
     * One object.
     *
     * @param point in the object, level-0 px
     * @param isCut by the edge of what was looked at
     * @param likeness to the examples, 0 to 1; NaN without examples
     */
    public record Found(SamMask mask, Point point, boolean isCut, double likeness) {}

    /** What made them, for an object's metadata. */
    public Map<String, String> metadata() {
        return provenance.metadata();
    }

    /** "340 objects in 40 tiles, 2 larger than a tile left out". */
    public String report() {
        String text = found.size() + (found.size() == 1 ? " object in " : " objects in ") + progress.tilesTotal()
                + (progress.tilesTotal() == 1 ? " tile" : " tiles");
        return progress.tooLarge() == 0 ? text : text + ", " + progress.tooLarge() + " larger than a tile left out";
    }
}
