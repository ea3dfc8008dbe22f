package io.github.qupathsam.client;

import java.util.Locale;

/**
 * How far the work on a region has come.
 *
 * @param tilesDone of {@code tilesTotal}
 * @param tilesSkipped without tissue, not among the total
 * @param objects found so far
 * @param tooLarge left out because they are larger than a tile
 * @param secondsLeft estimated; NaN where nothing is known yet
 */
public record RegionProgress(
        int tilesDone, int tilesTotal, int tilesSkipped, long objects, long tooLarge, double secondsLeft) {

    /** From 0 to 1. */
    public double share() {
        return tilesTotal == 0 ? 0 : (double) tilesDone / tilesTotal;
    }

    /** "12 of 40 tiles, 340 objects, about 2 min left". */
    public String text() {
        String text = tilesDone + " of " + tilesTotal + " tiles, " + objects + (objects == 1 ? " object" : " objects");
        if (Double.isNaN(secondsLeft) || tilesDone == tilesTotal) {
            return text;
        }
        long seconds = Math.max(1, Math.round(secondsLeft));
        return text + ", about "
                + (seconds < 100 ? seconds + " s" : String.format(Locale.ROOT, "%d min", Math.round(seconds / 60.0))) + " left";
    }
}
