package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.HexFormat;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.locationtech.jts.geom.Geometry;
import org.locationtech.jts.io.WKBReader;

/** Unary calls against the Python server with its fake model. */
class SamClientTest {
    private static final PredictOptions OPTIONS = PredictOptions.of(Map.of("downsample", 1));

    @TempDir
    static Path folder;

    private static RealServer server;
    private static SamClient client;
    private static SamImage image;

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

    static Geometry geometry(SamMask mask) throws Exception {
        return new WKBReader().read(mask.wkb());
    }

    @Test
    void saysWhatTheServerIs() {
        Capabilities capabilities = client.capabilities();
        assertEquals(1, capabilities.protocolVersion());
        assertEquals("fake", capabilities.defaultModel());
        assertTrue(capabilities.readsSlides());
        assertEquals("fake", client.models().get(0).name());
    }

    @Test
    void aClickGivesAnOutlineRoundIt() throws Exception {
        SamPrediction answer = client.predict(image, Prompts.click(380.5, 260.5), OPTIONS);
        Geometry outline = geometry(answer.single().best());
        assertTrue(outline.isValid());
        assertEquals(answer.single().best().areaPx2(), outline.getArea(), 1e-6);
        assertEquals(380.5, outline.getCentroid().getX(), 1);
        assertEquals("fake", answer.provenance().model());
        assertTrue(answer.single().token().length > 0);
    }

    @Test
    void aTokenContinuesWithoutChangingTheAnswer() {
        Prompts first = Prompts.click(380.5, 260.5);
        Prompts second = first.remove(400.5, 270.5);
        byte[] token = client.predict(image, first, OPTIONS).single().token();
        SamResult continued = client.predict(image, second.continuing(token), OPTIONS).single();
        SamResult replayed = client.predict(image, second, OPTIONS).single();
        assertTrue(continued.resumedSteps() >= 1);
        assertArrayEquals(replayed.best().wkb(), continued.best().wkb());
    }

    @Test
    void manyObjectsComeBackInOrder() {
        List<Prompts> objects = java.util.stream.IntStream.range(0, 12)
                .mapToObj(i -> Prompts.click(100.5 + 50 * i, 300.5).named("object " + i))
                .toList();
        List<SamResult> results = client.predict(image, objects, OPTIONS).results();
        for (int i = 0; i < objects.size(); i++) {
            assertEquals("object " + i, results.get(i).name());
        }
    }

    @Test
    void theResultIsCutToTheClip() throws Exception {
        byte[] clip = PromptsTest.wkb("POLYGON ((370 250, 380 250, 380 300, 370 300, 370 250))");
        SamMask mask = client.predict(image, Prompts.click(375.5, 260.5), OPTIONS.withClip(clip)).single().best();
        Geometry outline = geometry(mask);
        assertTrue(new WKBReader().read(clip).covers(outline));
    }

    @Test
    void everyFaultHasItsReasonAndAdvice() {
        assertEquals(FailureReason.UNKNOWN_MODEL, reason(image, Prompts.click(9, 9), Map.of("model", "nosuch")));
        assertEquals(FailureReason.INVALID_PROMPT, reason(image, Prompts.click(-5, 9), Map.of()));
        SamImage missing = SamImage.ofPath(folder.resolve("none.svs"), 10, 10);
        assertEquals(FailureReason.SLIDE_NOT_FOUND, reason(missing, Prompts.click(5, 5), Map.of()));
    }

    private static FailureReason reason(SamImage of, Prompts prompts, Map<String, ?> options) {
        SamException failure =
                assertThrows(SamException.class, () -> client.predict(of, prompts, PredictOptions.of(options)));
        assertFalse(failure.getMessage().isBlank());
        return failure.reason();
    }

    @Test
    void pixelsThatTheServerCannotSeeArePushedOnce() throws Exception {
        AtomicInteger reads = new AtomicInteger();
        SamImage hidden = Pictures.pushable(
                SamImage.ofPath(folder.resolve("not there.svs"), Pictures.WIDTH, Pictures.HEIGHT), reads);
        SamPrediction pushed = client.predict(hidden, Prompts.click(380.5, 260.5), OPTIONS);
        client.predict(hidden, Prompts.click(400.5, 270.5), OPTIONS);
        assertTrue(hidden.isPushing());
        assertEquals(1, reads.get());
        assertTrue(pushed.provenance().pixelSource().contains("QuPath rendered RGB"), pushed.provenance().pixelSource());
        SamPrediction seen = client.predict(image, Prompts.click(380.5, 260.5), OPTIONS);
        assertArrayEquals(seen.single().best().wkb(), pushed.single().best().wkb());
        assertEquals(seen.single().best().score(), pushed.single().best().score(), "other pixels than the server reads");
    }

    @Test
    void anImageOfAnotherSizeIsNotSegmentedInTheWrongPlace() throws Exception {
        SamImage wrong = SamImage.ofPath(Pictures.file(folder), Pictures.WIDTH + 7, Pictures.HEIGHT);
        assertEquals(FailureReason.SLIDE_MISMATCH, reason(wrong, Prompts.click(5, 5), Map.of()));
        assertFalse(client.seesSlide(wrong));
    }

    @Test
    void aPixelSourceThatFailsIsNamed() {
        SamImage broken = SamImage.ofPath(folder.resolve("x.svs"), 100, 100).pixels("none", (region, downsample) -> {
            throw new IOException("no disc");
        });
        SamException failure =
                assertThrows(SamException.class, () -> client.predict(broken, Prompts.click(5, 5), OPTIONS));
        assertEquals(FailureReason.SLIDE_UNREADABLE, failure.reason());
        assertTrue(failure.getMessage().contains("no disc"), failure.getMessage());
    }

    @Test
    void aCallOfItsOwnThreadCanBeCancelled() throws Exception {
        CompletableFuture<SamPrediction> future = client.predictAsync(image, List.of(Prompts.click(380.5, 260.5)), OPTIONS);
        assertEquals("fake", future.get(60, TimeUnit.SECONDS).provenance().model());
        CompletableFuture<SamPrediction> cancelled = client.predictAsync(image, List.of(Prompts.click(1, 1)), OPTIONS);
        cancelled.cancel(true);
        assertTrue(cancelled.isCancelled());
        assertEquals(FailureReason.CANCELLED, SamException.of(assertThrows(Exception.class, cancelled::join)).reason());
    }

    @Test
    void aStoppedScriptStopsItsCall() throws Exception {
        CompletableFuture<SamException> seen = new CompletableFuture<>();
        Thread script = new Thread(() -> {
            Thread.currentThread().interrupt();
            try {
                client.predict(image, Prompts.click(380.5, 260.5), OPTIONS);
                seen.completeExceptionally(new AssertionError("an interrupted script went on"));
            } catch (SamException stopped) {
                seen.complete(stopped);
            }
        });
        script.start();
        assertEquals(FailureReason.CANCELLED, seen.get(60, TimeUnit.SECONDS).reason());
    }

    @Test
    void pythonGetsTheSameBytes() throws Exception {
        List<Prompts> objects = List.of(
                Prompts.click(380.5, 260.5).remove(420.5, 280.5),
                Prompts.box(590, 410, 700, 520),
                Prompts.outline(PromptsTest.wkb("POLYGON ((300 200, 460 200, 460 320, 300 320, 300 200))")).add(310.25, 210.75));
        String program = """
                import sys, shapely
                from qupath_sam.client import SamClient, Slide
                from qupath_sam.types.prompts import Box, Click, Label, ObjectPrompts
                objects = [
                    ObjectPrompts((Click(((380.5, 260.5),)), Click(((420.5, 280.5),), Label.NEGATIVE))),
                    ObjectPrompts(box=Box(590, 410, 700, 520)),
                    ObjectPrompts((Click(((310.25, 210.75),)),), outline=shapely.box(300, 200, 460, 320)),
                ]
                with SamClient(sys.argv[1]) as client:
                    answer = client.predict(Slide(sys.argv[2], size=(900, 700)), objects)
                print(*[shapely.to_wkb(result.outlines[0].geometry, hex=True).lower() for result in answer.results])
                """;
        Process python = RealServer.builder(List.of(
                        RealServer.python(), "-c", program, "127.0.0.1:" + server.port(), Pictures.file(folder).toString()))
                .start();
        String printed = new String(python.getInputStream().readAllBytes()).strip();
        assertEquals(0, python.waitFor(), new String(python.getErrorStream().readAllBytes()));
        List<String> ours = client.predict(image, objects, PredictOptions.none()).results().stream()
                .map(result -> HexFormat.of().formatHex(result.best().wkb()))
                .toList();
        assertEquals(List.of(printed.split(" ")), ours);
    }
}
