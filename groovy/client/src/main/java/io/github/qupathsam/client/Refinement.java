package io.github.qupathsam.client;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What came of outlines that were to be refined.
 *
 * @param refined the objects whose new outline is accepted, in order
 * @param refused the others, with the server's reason
 */
public record Refinement(List<Refined> refined, Map<Object, String> refused) {
    /**
     * An object and its new outline.
     *
     * @param metadata what made the outline
     */
    public record Refined(Object source, SamMask mask, Map<String, String> metadata) {}

    /** The answer to these objects, in order. */
    static Refinement of(List<?> objects, SamPrediction answer) {
        List<Refined> refined = new ArrayList<>();
        Map<Object, String> refused = new LinkedHashMap<>();
        for (int i = 0; i < objects.size(); i++) {
            SamResult result = answer.results().get(i);
            if (result.refusal() == null) {
                throw new SamException(
                        FailureReason.WRONG_VERSION,
                        "the server knows no refining; " + FailureReason.WRONG_VERSION.advice());
            }
            if (result.refusal().isEmpty() && result.best() != null) {
                refined.add(new Refined(objects.get(i), result.best(), answer.provenance().metadata(result)));
            } else {
                refused.put(objects.get(i), result.refusal());
            }
        }
        return new Refinement(List.copyOf(refined), refused);
    }

    /** All of several: of planes. */
    public static Refinement joined(List<Refinement> parts) {
        Map<Object, String> refused = new LinkedHashMap<>();
        parts.forEach(part -> refused.putAll(part.refused()));
        return new Refinement(
                parts.stream().flatMap(part -> part.refined().stream()).toList(), refused);
    }

    /** "3 refined, 2 refused (1 too different from the old outline, 1 nothing found), 0 locked". */
    public String report(int locked) {
        Map<String, Integer> reasons = new LinkedHashMap<>();
        refused.values().forEach(reason -> reasons.merge(reason, 1, Integer::sum));
        List<String> counts = new ArrayList<>();
        reasons.forEach((reason, count) -> counts.add(count + " " + reason));
        String why = counts.isEmpty() ? "" : " (" + String.join(", ", counts) + ")";
        return refined.size() + " refined, " + refused.size() + " refused" + why + ", " + locked + " locked";
    }
}
