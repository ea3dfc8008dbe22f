package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import org.junit.jupiter.api.Test;

class SegmentationTest {
    private static SamPrediction answer(List<List<Doubt>> doubts) {
        List<SamMask> masks = List.of(new SamMask(new byte[0], 0.4, 1, 1, 0));
        List<SamResult> results = doubts.stream()
                .map(of -> new SamResult("", masks, null, 1, false, new byte[0], 0, "", of, null, false))
                .toList();
        return new SamPrediction(results, new Provenance("m", "", "", "", "", "", "", 0, List.of()), 0, 0);
    }

    private static List<PromptGroup> points(String... names) {
        return List.of(names).stream()
                .map(name -> new PromptGroup(List.of(PromptShape.points(name, List.of(new Point(1, 1)), true))))
                .toList();
    }

    /** A third of a slide became an annotation, and its prompt was gone. */
    @Test
    void anAnswerThatRunsAwayIsNotTakenAndItsPromptStays() {
        Segmentation segmentation = Segmentation.of(
                points("sure", "unsure", "large", "glass"),
                answer(List.of(
                        List.of(), List.of(Doubt.LOW_SCORE), List.of(Doubt.LOW_SCORE, Doubt.LARGE), List.of(Doubt.BACKGROUND))));
        assertEquals(List.of("sure", "unsure"), segmentation.used());
        assertEquals(0, segmentation.empty());
        assertEquals(
                "2 outlined (1 of them unsure: look at it), 1 left as it is (far larger than the view, or a quarter of the tissue), "
                        + "1 left as it is (mostly glass without tissue)",
                segmentation.report());
        assertEquals(
                "4 outlined (2 of them unsure: look at them)",
                Segmentation.joined(List.of(
                                Segmentation.of(points("a", "b"), answer(List.of(List.of(), List.of(Doubt.LOW_SCORE)))),
                                Segmentation.of(points("c", "d"), answer(List.of(List.of(), List.of(Doubt.LOW_SCORE))))))
                        .report());
    }
}
