package io.github.qupathsam.client;

import java.util.List;

/**
 * What became of one object.
 *
 * @param name as its prompts were named
 * @param masks the likeliest first; empty where nothing is left
 * @param window what the model saw, level-0 px; another one where a mask says so
 * @param downsample level-0 px per window px
 * @param touchesWindowEdge the mask runs into an edge of its window: the object is probably larger
 * @param token names this answer, for prompts that continue it
 * @param resumedSteps steps that the server did not have to repeat
 * @param embedding how the embedding was come by: memory, disk, computed, shared; empty where none was needed
 * @param doubts about the best outline: why it should not be taken unseen
 * @param refusal of an outline that was to be refined: why the old one stays, empty where it does not; null where none was
 * @param isTooLarge that is because it is larger than a window
 */
public record SamResult(
        String name,
        List<SamMask> masks,
        PixelRegion window,
        double downsample,
        boolean touchesWindowEdge,
        byte[] token,
        int resumedSteps,
        String embedding,
        List<Doubt> doubts,
        String refusal,
        boolean isTooLarge) {

    /** The best outline, or null where nothing is left. */
    public SamMask best() {
        return masks.isEmpty() ? null : masks.get(0);
    }
}
