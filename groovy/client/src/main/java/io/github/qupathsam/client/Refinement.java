package io.github.qupathsam.client;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * What came of outlines that were to be refined.
 *
 * @param refined the objects whose new outline is accepted, in order
 * @param refused how many answers were empty or too far from the old outline
 */
public record Refinement(List<Refined> refined, int refused) {
    /**
     * An object and its new outline.
     *
     * @param metadata what made the outline
     */
    public record Refined(Object source, SamMask mask, Map<String, String> metadata) {}

    /**
     * The answer to these outlines, in order.
     *
     * @param outlines objects and their outlines (WKB)
     * @param minIoU an answer that agrees less with the old outline is refused; 0 takes all
     */
    static Refinement of(Map<?, byte[]> outlines, SamPrediction answer, double minIoU) {
        List<Refined> refined = new ArrayList<>();
        int i = 0;
        for (Map.Entry<?, byte[]> outline : outlines.entrySet()) {
            SamResult result = answer.results().get(i++);
            SamMask mask = result.best();
            if (mask != null && Outlines.iou(outline.getValue(), mask.wkb()) >= minIoU) {
                refined.add(new Refined(outline.getKey(), mask, answer.provenance().metadata(result)));
            }
        }
        return new Refinement(List.copyOf(refined), outlines.size() - refined.size());
    }

    /** All of several: of planes. */
    public static Refinement joined(List<Refinement> parts) {
        return new Refinement(
                parts.stream().flatMap(part -> part.refined().stream()).toList(),
                parts.stream().mapToInt(Refinement::refused).sum());
    }

    /** "3 refined, 1 refused, 0 locked". */
    public String report(int locked) {
        return refined.size() + " refined, " + refused + " refused, " + locked + " locked";
    }
}
