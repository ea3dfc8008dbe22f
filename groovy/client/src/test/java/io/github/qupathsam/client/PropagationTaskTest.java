package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.qupathsam.v1.PredictRequest;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.IntFunction;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Outlines from plane to plane, against the Python server with its fake model; every plane shows the same picture. */
class PropagationTaskTest {
    private static final PredictOptions OPTIONS = PredictOptions.of(Map.of("downsample", 1));
    private static final RefineOptions LENIENT = RefineOptions.of(Map.of("minIoU", 0, "maxAreaChange", 1e6, "minPartIoU", 0));
    private static final PlaneRange RANGE = new PlaneRange(2, 0, 4);

    @TempDir
    static Path folder;

    private static RealServer server;
    private static SamClient client;
    private static SamImage image;

    private final List<Integer> asked = new ArrayList<>();
    private final IntFunction<SamImage> planes = plane -> {
        asked.add(plane);
        return image;
    };

    @BeforeAll
    static void start() throws Exception {
        server = RealServer.plain();
        client = server.client();
        image = Pictures.onDisk(folder);
    }

    @AfterAll
    static void stop() {
        if (client != null) {
            client.close();
        }
    }

    private static Map<String, byte[]> outlines() {
        Map<String, byte[]> outlines = new LinkedHashMap<>();
        outlines.put("one", PromptsTest.wkb("POLYGON ((300 200, 460 200, 460 320, 300 320, 300 200))"));
        outlines.put("two", PromptsTest.wkb("POLYGON ((600 420, 690 420, 690 480, 600 480, 600 420))"));
        return outlines;
    }

    @Test
    void theOutlineOfAPlaneAsksForThatOfTheNext() {
        List<String> told = new ArrayList<>();
        Propagation answer = client.propagate(planes, RANGE, outlines(), OPTIONS, LENIENT).run(progress -> told.add(progress.text()));
        assertEquals(List.of(2, 3, 4, 2, 1, 0), asked, "each way begins with the plane on which the outlines are right");
        assertEquals(List.of("one 3", "two 3", "one 4", "two 4", "one 1", "two 1", "one 0", "two 0"),
                answer.found().stream().map(found -> found.source() + " " + found.plane()).toList());
        assertEquals("4 of 4 planes, 8 outlines", told.get(3));
        assertEquals("8 outlines on other planes", answer.report());
        assertEquals("fake", answer.found().get(0).metadata().get("qupath-sam.model"));
        byte[] third = answer.found().get(0).mask().wkb();
        Refinement fourth = client.refine(image, Map.of("one", third), OPTIONS, LENIENT);
        assertEquals(Outlines.of(fourth.refined().get(0).mask().wkb()), Outlines.of(answer.found().get(2).mask().wkb()));
        assertTrue(!Outlines.of(third).equals(Outlines.of(answer.found().get(2).mask().wkb())), "each plane goes on from the one before");
    }

    @Test
    void theTokenOfAPlaneGoesWithItsOutlineToTheNext() throws Exception {
        try (ScriptedServer scripted = ScriptedServer.start();
                SamClient asking = scripted.client(20)) {
            asking.propagate(planes, RANGE, outlines(), OPTIONS, LENIENT).run(progress -> {});
            List<PredictRequest> asked = scripted.predicts();
            assertEquals(List.of(true, false, false, true, false, false), asked.stream().map(each -> each.getRefine().getRemember()).toList());
            List<String> tokens = asked.stream().map(each -> each.getObjects(1).getToken().toStringUtf8()).toList();
            assertEquals(List.of("", "answer 1, object 1", "answer 2, object 1", "", "answer 4, object 1", "answer 5, object 1"), tokens);
            assertEquals(outlines().get("two").length, asked.get(0).getObjects(1).getOutlineWkb().size());
        }
    }

    @Test
    void anObjectEndsWhereTheServerRefuses() {
        RefineOptions strict = RefineOptions.of(Map.of("minIoU", 0, "maxAreaChange", 1e6, "minPartIoU", 0, "minScore", 1));
        Propagation answer = client.propagate(planes, RANGE, outlines(), OPTIONS, strict).run(progress -> {});
        assertEquals(List.of(2, 3, 2, 1), asked, "no plane behind an end is asked about");
        assertEquals("0 outlines on other planes; 4 ends within the stack (4 score too low)", answer.report());
        Propagation twice = Propagation.joined(List.of(answer, answer));
        assertEquals(8, twice.ends().size());
    }

    @Test
    void aWiderBoxIsWhatTheModelSees() {
        Map<String, byte[]> one = Map.of("two", outlines().get("two"));
        double area = client.refine(image, one, OPTIONS, LENIENT).refined().get(0).mask().areaPx2();
        RefineOptions wide = RefineOptions.of(Map.of("minIoU", 0, "maxAreaChange", 1e6, "minPartIoU", 0, "boxMargin", 0.15));
        assertTrue(client.refine(image, one, OPTIONS, wide).refined().get(0).mask().areaPx2() > area);
    }

    @Test
    void whatIsCancelledChangesNothing() {
        PropagationTask task = client.propagate(planes, RANGE, outlines(), OPTIONS, LENIENT);
        SamException stopped = assertThrows(SamException.class, () -> task.run(progress -> task.cancel()));
        assertEquals(FailureReason.CANCELLED, stopped.reason());
        assertEquals(List.of(2, 3), asked);
    }

    @Test
    void planesAreThoseAroundTheFirst() {
        for (int[] wrong : new int[][] {{2, 3, 4}, {2, 0, 1}, {0, -1, 4}, {2, 2, 2}}) {
            assertThrows(SamException.class, () -> new PlaneRange(wrong[0], wrong[1], wrong[2]));
        }
        assertEquals(List.of(List.of(3), List.of()), new PlaneRange(2, 2, 3).ways());
    }
}
