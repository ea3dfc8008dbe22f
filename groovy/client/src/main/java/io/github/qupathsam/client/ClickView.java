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

    /**
     * What to tell the person now; empty for nothing.
     *
     * @param trouble with the server, as {@link LiveSession#trouble}
     */
    public String text(String trouble) {
        return message.isEmpty() && working ? trouble : message;
    }
}
