package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import io.github.qupathsam.v1.ClickLabel;
import io.github.qupathsam.v1.ObjectKind;
import io.github.qupathsam.v1.Prompting;
import io.github.qupathsam.v1.Provenance;
import io.github.qupathsam.v1.RegionObject;
import io.github.qupathsam.v1.RegionProgress;
import io.github.qupathsam.v1.SegmentRegionRequest;
import io.github.qupathsam.v1.SegmentRegionResponse;
import io.github.qupathsam.v1.SegmentedMask;
import io.grpc.Status;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** All objects of a region, with a server that goes away in between. */
class RegionTaskTest {
    private static final byte[] OUTLINE = PromptsTest.wkb("POLYGON ((0 0, 100 0, 100 100, 0 100, 0 0))");

    private final SamImage image = SamImage.ofPath(Path.of("slide.svs"), 1000, 1000).pixelSize(0.5);
    private ScriptedServer server;
    private SamClient client;

    @BeforeEach
    void open() throws Exception {
        server = ScriptedServer.start();
        client = server.client(60);
    }

    @AfterEach
    void close() throws Exception {
        client.close();
        server.close();
    }

    private static SegmentRegionResponse first() {
        return SegmentRegionResponse.newBuilder()
                .setProvenance(Provenance.newBuilder().setModel("fake"))
                .setProgress(RegionProgress.newBuilder().setTilesTotal(3))
                .build();
    }

    private static SegmentRegionResponse tile(int done, String token, int... numbers) {
        SegmentRegionResponse.Builder answer = SegmentRegionResponse.newBuilder()
                .setProgress(RegionProgress.newBuilder().setTilesDone(done).setTilesTotal(3))
                .setResumeToken(ByteString.copyFromUtf8(token));
        for (int number : numbers) {
            answer.addObjects(RegionObject.newBuilder()
                    .setNumber(number)
                    .setMask(SegmentedMask.newBuilder()
                            .setGeometryWkb(ByteString.copyFrom(OUTLINE))
                            .setAreaPx2(number)));
        }
        return answer.build();
    }

    @Test
    void aServerThatGoesAwayIsAskedForTheRest() throws Exception {
        server.willAnswerRegion(Status.UNAVAILABLE, first(), tile(1, "one", 0, 1), tile(2, "", 2));
        server.willAnswerRegion(null, first(), tile(2, "two", 2, 3), tile(3, "three", 4));
        List<Integer> told = new ArrayList<>();
        RegionAnswer answer = client.region(image, OUTLINE, List.of(), RegionOptions.of(Map.of("minObjectArea", 5, "objects", "glands")))
                .run(progress -> told.add(progress.tilesDone()));
        SegmentRegionRequest asked = server.nextRegion();
        assertEquals(5, asked.getFilter().getMinArea());
        assertEquals(ObjectKind.OBJECT_KIND_GLANDS, asked.getObjects());
        assertEquals(Prompting.PROMPTING_UNSPECIFIED, asked.getPrompting());
        assertArrayEquals(OUTLINE, asked.getOutlineWkb().toByteArray());
        assertEquals("one", server.nextRegion().getResumeToken().toStringUtf8());
        List<Double> numbers = answer.found().stream().map(found -> found.mask().areaPx2()).toList();
        assertEquals(List.of(0.0, 1.0, 2.0, 3.0, 4.0), numbers, "what came after the token comes once");
        assertEquals("fake", answer.metadata().get("qupath-sam.model"));
        assertEquals(List.of(0, 1, 2, 0, 2, 3), told);
        assertEquals("5 objects in 3 tiles", answer.report());
    }

    @Test
    void examplesAreSent() throws Exception {
        server.willAnswerRegion(null, first());
        List<Example> examples = List.of(Example.outline(OUTLINE, true), Example.click(5, 6, false));
        client.region(image, null, examples, RegionOptions.of(Map.of("minLikeness", 0.7))).run(progress -> {});
        SegmentRegionRequest asked = server.nextRegion();
        assertEquals(Prompting.PROMPTING_LIKE, asked.getPrompting());
        assertEquals(SegmentRegionRequest.PlaceCase.PLACE_NOT_SET, asked.getPlaceCase(), "the whole image");
        assertEquals(0.7, asked.getLikeThreshold());
        assertEquals(ClickLabel.CLICK_LABEL_NEGATIVE, asked.getExamples(1).getLabel());
        assertEquals(6, asked.getExamples(1).getPoint().getY());
    }

    @Test
    void cancellingEndsTheWorkOnTheServerToo() throws Exception {
        server.willNotAnswerRegion();
        RegionTask task = client.region(image, OUTLINE, List.of(), RegionOptions.of(Map.of()));
        CompletableFuture<RegionAnswer> running = CompletableFuture.supplyAsync(() -> task.run(progress -> {}));
        server.nextRegion();
        task.cancel();
        Exception ended = assertThrows(ExecutionException.class, () -> running.get(30, TimeUnit.SECONDS));
        assertEquals(FailureReason.CANCELLED, SamException.of(ended).reason());
        assertInstanceOf(Exception.class, server.streamEnded());
    }

    @Test
    void whatCannotPassIsNotRepeated() throws Exception {
        server.willAnswerRegion(Status.INVALID_ARGUMENT.withDescription("no such region"), first());
        RegionTask task = client.region(image, OUTLINE, List.of(), RegionOptions.of(Map.of()));
        SamException failure = assertThrows(SamException.class, () -> task.run(progress -> {}));
        assertTrue(failure.getMessage().contains("no such region"), failure.getMessage());
    }

    @Test
    void optionsThatCannotBeAreNamed() {
        for (Map<String, ?> wrong : List.<Map<String, ?>>of(
                Map.of("minArae", 1), Map.of("effort", "some"), Map.of("objects", "vessels"), Map.of("mpp", 1, "downsample", 2), Map.of("minScore", -1))) {
            assertThrows(SamException.class, () -> RegionOptions.of(wrong), wrong.toString());
        }
        assertEquals(RegionOptions.ObjectKind.NUCLEI, RegionOptions.of(Map.of()).objects());
        assertEquals(RegionOptions.Effort.FAST, RegionOptions.of(Map.of("effort", "fast")).effort());
    }

    @Test
    void progressIsTold() {
        assertEquals(
                "12 of 40 tiles, 340 objects, about 3 min left",
                new io.github.qupathsam.client.RegionProgress(12, 40, 0, 340, 0, 170).text());
    }

    @Test
    void aRegionIsPushedWholeOrRefused() {
        PushPlan plan = PushPlan.whole(new Bounds(10.5, 20.5, 90.5, 60.5), 0.5, 1000, 1000);
        assertEquals(new PixelRegion(9, 19, 83, 43), plan.region());
        assertEquals(1, plan.downsample());
        assertEquals(4, PushPlan.whole(new Bounds(0, 0, 900, 900), 7, 1000, 1000).downsample());
        assertThrows(SamException.class, () -> PushPlan.whole(new Bounds(2000, 0, 2100, 100), 1, 1000, 1000));
    }
}
