package io.github.qupathsam.client;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * What came of drawn prompts.
 *
 * @param outlined the objects that an outline was found for, in order
 * @param empty how many others there were
 */
public record Segmentation(List<Outlined> outlined, int empty) {
    /**
     * An object with its outline.
     *
     * @param source what it takes its class, name and place from
     * @param sources everything that it was made from
     * @param metadata what made the outline
     * @param window what the model saw, level-0 px; null where the server does not say it
     */
    public record Outlined(
            Object source, List<Object> sources, SamMask mask, Map<String, String> metadata, PixelRegion window) {
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
        for (int i = 0; i < groups.size(); i++) {
            SamResult result = answer.results().get(i);
            if (result.best() != null) {
                PromptGroup group = groups.get(i);
                Map<String, String> metadata = answer.provenance().metadata(result);
                outlined.add(new Outlined(group.source(), group.sources(), result.best(), metadata, result.window()));
            }
        }
        return new Segmentation(List.copyOf(outlined), groups.size() - outlined.size());
    }

    /** All of several: of planes, of regions. */
    public static Segmentation joined(List<Segmentation> parts) {
        return new Segmentation(
                parts.stream().flatMap(part -> part.outlined().stream()).toList(),
                parts.stream().mapToInt(Segmentation::empty).sum());
    }

    /** Every prompt that an outline stands for now. */
    public List<Object> used() {
        return outlined.stream().flatMap(one -> one.sources().stream()).distinct().toList();
    }

    /** "3 outlined, nothing found for 1". */
    public String report() {
        return outlined.size() + " outlined" + (empty == 0 ? "" : ", nothing found for " + empty);
    }
}
