package io.github.qupathsam.client;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * A clicked outline that becomes an annotation.
 *
 * @param mask the one of the answer's outlines that was chosen
 * @param box round the object, or null
 * @param viewDownsample of the first click
 */
public record KeptOutline(
        SamResult result, SamMask mask, Provenance provenance, PixelBox box, List<Click> clicks, double viewDownsample) {

    /**
     * What made the outline, with the clicks as {@code +x,y -x,y} in level-0 px: enough to make it again. The points of a scribble are
     * joined by {@code ;}.
     */
    public Map<String, String> metadata() {
        Map<String, String> metadata = provenance.metadata(result);
        List<String> places = new ArrayList<>();
        for (Click click : clicks) {
            String points =
                    click.points().stream().map(point -> point.x() + "," + point.y()).collect(Collectors.joining(";"));
            places.add((click.positive() ? "+" : "-") + points);
        }
        Provenance.put(metadata, "clicks", String.join(" ", places));
        if (box != null) {
            Provenance.put(metadata, "box", box.minX() + "," + box.minY() + "," + box.maxX() + "," + box.maxY());
        }
        int choice = result.masks().indexOf(mask);
        if (choice > 0) {
            Provenance.put(metadata, "choice", (choice + 1) + " of " + result.masks().size());
        }
        Provenance.put(metadata, "view_downsample", String.valueOf(viewDownsample));
        return metadata;
    }

    /** "kept Tumour of 3 clicks". */
    public String report(String what) {
        int acts = clicks.size();
        String made = acts + (acts == 1 ? " click" : " clicks");
        return "kept " + what + " of " + (box == null ? made : acts == 0 ? "a box" : "a box and " + made);
    }
}
