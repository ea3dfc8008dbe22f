package io.github.qupathsam.client;

/**
 * Tells double clicks from clicks that follow each other quickly.
 *
 * <p>Desktops count clicks a few pixels apart as one double click, but a person who clicks along a thin structure means each of them.
 */
public final class DoubleClicks {
    /** What a click is. */
    public enum Kind {
        SINGLE,
        /** The second at one place. */
        DOUBLE,
        /** The third and later ones at one place: nobody means anything by them. */
        REPEATED
    }

    /** Farthest apart of two clicks at one place, screen px along each axis: a hand at rest. */
    static final double REST_PX = 2;

    static final long WITHIN_MS = 400;

    private double x;
    private double y;
    private long at = Long.MIN_VALUE / 2;
    private int count;

    DoubleClicks() {}

    /** None has come yet. */
    public static DoubleClicks start() {
        return new DoubleClicks();
    }

    /**
     * A click has come.
     *
     * @param screenX screen px
     * @param screenY screen px
     * @param millis of a clock that never goes back
     */
    public Kind next(double screenX, double screenY, long millis) {
        boolean again = millis - at <= WITHIN_MS && Math.abs(screenX - x) <= REST_PX && Math.abs(screenY - y) <= REST_PX;
        count = again ? count + 1 : 1;
        if (!again) {
            x = screenX;
            y = screenY;
        }
        at = millis;
        return count == 1 ? Kind.SINGLE : count == 2 ? Kind.DOUBLE : Kind.REPEATED;
    }
}
