package io.github.qupathsam.client;

import java.awt.Shape;
import java.util.List;

/**
 * What to draw of an object that is being clicked.
 *
 * @param clicks in order
 * @param mask the newest outline, or null
 * @param working an answer is awaited
 * @param message what a person should know, or empty
 */
public record ClickView(List<Click> clicks, SamMask mask, boolean working, String message) {
    static final ClickView EMPTY = new ClickView(List.of(), null, false, "");

    /** The outline to draw, level-0 px; null where there is none. */
    public Shape outline() {
        return mask == null ? null : Wkb.shape(mask.wkb());
    }

    /** What to tell the person now; empty for nothing. */
    public String text(LiveSession.State server) {
        boolean away = working && server == LiveSession.State.RECONNECTING;
        return message.isEmpty() && away ? "Waiting for the SAM server \u2026" : message;
    }
}
