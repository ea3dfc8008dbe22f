package io.github.qupathsam.client;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What came of outlines that were carried through a stack.
 *
 * @param found an outline for each plane on which an object is
 * @param ends where objects end within the stack
 */
public record Propagation(List<Found> found, List<End> ends) {
    /**
     * An object on another plane.
     *
     * @param source the caller's own, whose outline was carried
     * @param metadata what made the outline
     */
    public record Found(Object source, int plane, SamMask mask, Map<String, String> metadata) {}

    /**
     * An object ends.
     *
     * @param plane on which it is no more
     * @param reason the server's
     */
    public record End(Object source, int plane, String reason) {}

    /** All of several: of planes to begin with. */
    public static Propagation joined(List<Propagation> parts) {
        return new Propagation(
                parts.stream().flatMap(part -> part.found().stream()).toList(),
                parts.stream().flatMap(part -> part.ends().stream()).toList());
    }

    /** "5 outlines on other planes; 2 ends within the stack (1 score too low, 1 nothing found)". */
    public String report() {
        String text = found.size() + (found.size() == 1 ? " outline" : " outlines") + " on other planes";
        if (ends.isEmpty()) {
            return text;
        }
        Map<String, Integer> reasons = new LinkedHashMap<>();
        ends.forEach(end -> reasons.merge(end.reason(), 1, Integer::sum));
        List<String> counts = new ArrayList<>();
        reasons.forEach((reason, count) -> counts.add(count + " " + reason));
        return text + "; " + ends.size() + (ends.size() == 1 ? " end" : " ends") + " within the stack (" + String.join(", ", counts) + ")";
    }
}
