package io.github.qupathsam.client;

import java.awt.Shape;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;

/**
 * What to draw of an object that is being clicked.
 *
 * @param box round the object, or null
 * @param clicks and scribbles in order
 * @param mask the newest outline, or the other one of its answer that was chosen; or null
 * @param choice which of the answer's outlines this is, from 0
 * @param choices how many outlines the answer has
 * @param grown by how many level-0 px the outline is wider than the model's; negative where narrower
 * @param doubts why the outline should not be taken unseen
 * @param working an answer is awaited
 * @param message what a person should know, or empty
 */
public record ClickView(
        PixelBox box,
        List<Click> clicks,
        SamMask mask,
        int choice,
        int choices,
        int grown,
        List<Doubt> doubts,
        boolean working,
        String message) {
    static final ClickView EMPTY = new ClickView(null, List.of(), null, 0, 0, 0, List.of(), false, "");

    /** The outline to draw, level-0 px; null where there is none. */
    public Shape outline() {
        return mask == null ? null : Wkb.shape(mask.wkb());
    }

    /** Whether the outline is one to look at before it is kept: it is drawn dim. */
    public boolean unsure() {
        return !doubts.isEmpty();
    }

    /**
     * What to tell the person now; empty for nothing.
     *
     * @param trouble with the server, as {@link LiveSession#trouble}
     */
    public String text(String trouble) {
        return message.isEmpty() && working ? trouble : message;
    }

    /**
     * What a person reads of the outline: the model's own score, the area, by how much it was made wider, which of several outlines it is,
     * and the doubts ("0.44, 312 um2, +2 px, 2 of 3, Tab for the next; the model is not sure"); empty without one.
     */
    public String label() {
        if (mask == null) {
            return "";
        }
        boolean calibrated = !Double.isNaN(mask.areaUm2());
        String label = String.format(
                Locale.ROOT, "%.2f, %.0f %s", mask.score(), calibrated ? mask.areaUm2() : mask.areaPx2(), calibrated ? "\u00b5m\u00b2" : "px\u00b2");
        if (grown != 0) {
            label += String.format(Locale.ROOT, ", %+d px", grown);
        }
        if (choices > 1) {
            label += ", " + (choice + 1) + " of " + choices + ", Tab for the next";
        }
        return doubts.isEmpty() ? label : label + "; " + doubts.stream().map(Doubt::text).collect(Collectors.joining(", "));
    }
}
