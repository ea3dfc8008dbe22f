package io.github.qupathsam.client;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * A clicked outline that becomes an annotation.
 *
 * @param viewDownsample of the first click
 */
public record KeptOutline(SamResult result, Provenance provenance, List<Click> clicks, double viewDownsample) {
    public SamMask mask() {
        return result.best();
    }

    /** What made the outline, with the clicks as {@code +x,y -x,y} in level-0 px: enough to make it again. */
    public Map<String, String> metadata() {
        Map<String, String> metadata = provenance.metadata(result);
        List<String> places = new ArrayList<>();
        for (Click click : clicks) {
            Point place = click.points().get(0);
            places.add((click.positive() ? "+" : "-") + place.x() + "," + place.y());
        }
        Provenance.put(metadata, "clicks", String.join(" ", places));
        Provenance.put(metadata, "view_downsample", String.valueOf(viewDownsample));
        return metadata;
    }

    /** "kept Tumour of 3 clicks". */
    public String report(String what) {
        return "kept " + what + " of " + clicks.size() + (clicks.size() == 1 ? " click" : " clicks");
    }
}
