package io.github.qupathsam.client;

/**
 * How far outlines have been carried.
 *
 * @param done planes that were asked about
 * @param planes most that will be
 * @param outlines found so far
 */
public record PlaneProgress(int done, int planes, int outlines) {
    /** From 0 to 1. */
    public double share() {
        return planes == 0 ? 0 : (double) done / planes;
    }

    /** "3 of 8 planes, 5 outlines". */
    public String text() {
        return done + " of " + planes + " planes, " + outlines + (outlines == 1 ? " outline" : " outlines");
    }
}
