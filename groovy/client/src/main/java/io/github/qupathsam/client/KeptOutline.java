package io.github.qupathsam.client;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * A clicked outline that becomes an annotation.
 *
 * @param choice which of the answer's outlines it is, from 0
 * @param mask the outline itself
 * @param grown by how many level-0 px the person made it wider; negative where narrower
 * @param source whose outline was refined, as the caller named it; null for a new object
 * @param box round the object, or null
 * @param viewDownsample of the first click
 */
public record KeptOutline(
        SamResult result,
        int choice,
        SamMask mask,
        int grown,
        Provenance provenance,
        Object source,
        PixelBox box,
        List<Click> clicks,
        double viewDownsample) {

    /**
     * What made the outline, with the clicks as {@code +x,y -x,y} in level-0 px: enough to make it again. The points of a scribble are
     * joined by {@code ;}; {@code +x,y@1} goes on from mask 1 of the answer before; {@code &+x,y} is one step with the click before.
     */
    public Map<String, String> metadata() {
        Map<String, String> metadata = provenance.metadata(result, mask);
        List<String> places = new ArrayList<>();
        for (Click click : clicks) {
            String points =
                    click.points().stream().map(point -> point.x() + "," + point.y()).collect(Collectors.joining(";"));
            String from = click.fromMask() == Click.FROM_BEST ? "" : "@" + click.fromMask();
            places.add((click.sameStep() ? "&" : "") + (click.positive() ? "+" : "-") + points + from);
        }
        Provenance.put(metadata, "clicks", String.join(" ", places));
        if (box != null) {
            Provenance.put(metadata, "box", box.minX() + "," + box.minY() + "," + box.maxX() + "," + box.maxY());
        }
        if (source != null) {
            Provenance.put(metadata, "refined", "true");
        }
        if (grown != 0) {
            Provenance.put(metadata, "grown", grown + " px");
        }
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
        return (source == null ? "kept " : "refined ") + what + (source == null ? " of " : " with ") + (box == null ? made : acts == 0 ? "a box" : "a box and " + made);
    }
}
