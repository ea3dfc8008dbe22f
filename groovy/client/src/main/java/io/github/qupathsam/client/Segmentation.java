package io.github.qupathsam.client;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * What came of drawn prompts.
 *
 * @param outlined the objects that an outline was found for, in order
 * @param empty how many objects nothing was found for
 * @param refused the doubt of each object whose outline is not taken: the prompt stays
 */
public record Segmentation(List<Outlined> outlined, int empty, List<Doubt> refused) {
    /**
     * An object with its outline.
     *
     * @param source what it takes its class, name and place from
     * @param sources everything that it was made from
     * @param metadata what made the outline
     * @param window what the model saw, level-0 px; null where the server does not say it
     * @param isUnsure whether the model doubts it
     */
    public record Outlined(
            Object source,
            List<Object> sources,
            SamMask mask,
            Map<String, String> metadata,
            PixelRegion window,
            boolean isUnsure) {
        /**
         * Whether the model saw a rectangle whole. The largest window does not hold what is larger, and an outline in it must not
         * take the place of that.
         *
         * @param rectangle the part that lies in the image, level-0 px
         */
        public boolean isSeenWhole(PixelBox rectangle) {
            return window == null
                    || window.encloses(new Bounds(rectangle.minX(), rectangle.minY(), rectangle.maxX(), rectangle.maxY()));
        }
    }

    /** The answer to these groups, in order. */
    static Segmentation of(List<PromptGroup> groups, SamPrediction answer) {
        List<Outlined> outlined = new ArrayList<>();
        List<Doubt> refused = new ArrayList<>();
        int empty = 0;
        for (int i = 0; i < groups.size(); i++) {
            SamResult result = answer.results().get(i);
            if (result.best() == null) {
                empty++;
                continue;
            }
            Doubt refusal = result.doubts().stream().filter(Doubt::isRefusal).findFirst().orElse(null);
            if (refusal != null) {
                refused.add(refusal);
                continue;
            }
            PromptGroup group = groups.get(i);
            Map<String, String> metadata = answer.provenance().metadata(result);
            boolean isUnsure = !result.doubts().isEmpty();
            outlined.add(new Outlined(group.source(), group.sources(), result.best(), metadata, result.window(), isUnsure));
        }
        return new Segmentation(List.copyOf(outlined), empty, List.copyOf(refused));
    }

    /** All of several: of planes, of regions. */
    public static Segmentation joined(List<Segmentation> parts) {
        return new Segmentation(
                parts.stream().flatMap(part -> part.outlined().stream()).toList(),
                parts.stream().mapToInt(Segmentation::empty).sum(),
                parts.stream().flatMap(part -> part.refused().stream()).toList());
    }

    /** Every prompt that an outline stands for now. */
    public List<Object> used() {
        return outlined.stream().flatMap(one -> one.sources().stream()).distinct().toList();
    }

    /** "3 outlined (1 of them unsure: look at it), nothing found for 1, 1 left as it is (mostly glass without tissue)". */
    public String report() {
        long unsure = outlined.stream().filter(Outlined::isUnsure).count();
        String look = unsure == 1 ? "it" : "them";
        return Stream.of(
                        outlined.size() + " outlined" + (unsure == 0 ? "" : " (" + unsure + " of them unsure: look at " + look + ")"),
                        empty == 0 ? "" : "nothing found for " + empty,
                        refused.stream()
                                .distinct()
                                .map(doubt -> refused.stream().filter(doubt::equals).count() + " left as it is (" + doubt.text() + ")")
                                .collect(Collectors.joining(", ")))
                .filter(text -> !text.isEmpty())
                .collect(Collectors.joining(", "));
    }
}
