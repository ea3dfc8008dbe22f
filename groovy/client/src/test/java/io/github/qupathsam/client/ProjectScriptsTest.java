package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the scripts for selected objects and for projects do with their objects, against the Python server with its fake model. */
class ProjectScriptsTest {
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

    @Test
    void everyPromptBecomesAnOutlineOrIsCounted() {
        byte[] elsewhere = PromptsTest.wkb("POLYGON ((0 0, 5 0, 5 5, 0 5, 0 0))");
        List<PromptShape> shapes = List.of(
                PromptShape.points("in", List.of(new Point(380.5, 260.5)), true),
                PromptShape.points("not", List.of(new Point(400.5, 260.5)), false),
                PromptShape.box("box", 590, 410, 110, 110));
        Segmentation all = client.segment(image, shapes, OPTIONS);
        assertEquals(List.of("box", "in"), all.outlined().stream().map(Segmentation.Outlined::source).toList());
        assertEquals(List.of("box", "in", "not"), all.used());
        assertEquals("fake", all.outlined().get(0).metadata().get("qupath-sam.model"));
        assertEquals("2 outlined", all.report());
        Segmentation none = client.segment(image, shapes, OPTIONS.withClip(elsewhere));
        assertEquals(List.of(), none.used(), "prompts without an outline would be removed");
        assertEquals("0 outlined, nothing found for 2", none.report());
        assertEquals("2 outlined, nothing found for 2", Segmentation.joined(List.of(all, none)).report());
    }

    @Test
    void anAnswerFarFromTheOldOutlineIsRefused() {
        Map<String, byte[]> outlines = new LinkedHashMap<>();
        outlines.put("near", PromptsTest.wkb("POLYGON ((300 200, 460 200, 460 320, 300 320, 300 200))"));
        outlines.put("lost", PromptsTest.wkb("POLYGON ((600 420, 690 420, 690 480, 600 480, 600 420))"));
        RefineOptions lenient = RefineOptions.of(Map.of("minIoU", 0.4, "maxAreaChange", 4));
        assertEquals("2 refined, 0 refused, 5 locked", client.refine(image, outlines, OPTIONS, lenient).report(5));
        PredictOptions half = OPTIONS.withClip(PromptsTest.wkb("POLYGON ((300 200, 380 200, 380 320, 300 320, 300 200))"));
        RefineOptions anyPart = RefineOptions.of(Map.of("minIoU", 0.4, "maxAreaChange", 4, "minPartIoU", 0));
        Refinement some = client.refine(image, outlines, half, anyPart);
        assertEquals(List.of("near"), some.refined().stream().map(Refinement.Refined::source).toList());
        assertEquals("fake", some.refined().get(0).metadata().get("qupath-sam.model"));
        assertEquals(Map.of("lost", "nothing found"), some.refused());
        Refinement none = client.refine(image, outlines, half, RefineOptions.of(Map.of("minIoU", 0.6, "maxAreaChange", 4)));
        assertEquals(
                "1 refined, 2 refused (1 nothing found, 1 too different from the old outline), 0 locked",
                Refinement.joined(List.of(some, none)).report(0));
    }

    @Test
    void allObjectsOfARegionAreThoseOfPython() throws Exception {
        byte[] region = PromptsTest.wkb("POLYGON ((250 150, 520 150, 520 380, 250 380, 250 150))");
        RegionOptions options = RegionOptions.of(Map.of("prompting", "grid", "spacing", 60, "minStability", 0.5, "downsample", 1, "searchBackground", true));
        List<RegionProgress> told = new ArrayList<>();
        RegionAnswer answer = client.region(image, region, List.of(), options).run(told::add);
        assertFalse(answer.found().isEmpty());
        assertEquals(told.get(told.size() - 1).tilesTotal(), answer.progress().tilesDone());
        assertEquals("fake", answer.metadata().get("qupath-sam.model"));
        for (RegionAnswer.Found found : answer.found()) {
            // Also where the centroid lies on the border, as the server has it.
            assertTrue(Outlines.of(region).intersects(Outlines.of(found.mask().wkb()).getCentroid()), "it belongs to another region");
            assertEquals(Outlines.of(found.mask().wkb()).getArea(), found.mask().areaPx2(), 1e-6);
        }
        AtomicInteger reads = new AtomicInteger();
        SamImage pushed = Pictures.pushable(SamImage.ofPath(Path.of("nowhere.svs"), Pictures.WIDTH, Pictures.HEIGHT), reads);
        RegionAnswer same = client.region(pushed, null, List.of(), options).run(progress -> {});
        assertEquals(1, reads.get(), "what the server cannot read is sent, once");
        assertTrue(same.found().size() >= answer.found().size());
    }

    /** On 0.1.0 scripts took IoU .3, the command line .5, and neither looked at holes. */
    @Test
    void theGuardsAreThoseOfTheCommandLine() throws Exception {
        Map<String, byte[]> outlines = Map.of(
                "hole", PromptsTest.wkb(
                        "POLYGON ((300 200, 460 200, 460 320, 300 320, 300 200), (360 240, 360 280, 400 280, 400 240, 360 240))"));
        RefineOptions lenient = RefineOptions.of(Map.of("minIoU", 0, "maxAreaChange", 10));
        assertEquals(
                Map.of("hole", "a hole of the old outline is lost"),
                client.refine(image, outlines, OPTIONS, lenient).refused());
        SamImage large = SamImage.ofPath(Pictures.file(folder), Pictures.WIDTH, Pictures.HEIGHT).pixelSize(0.1);
        Map<String, byte[]> region = Map.of("region", PromptsTest.wkb("POLYGON ((0 0, 890 0, 890 690, 0 690, 0 0))"));
        assertEquals(0, client.refine(large, region, PredictOptions.none(), lenient).refused().values().stream()
                .filter(reason -> reason.contains("larger than a window"))
                .count());
        SamImage coarse = SamImage.ofPath(Pictures.file(folder), Pictures.WIDTH, Pictures.HEIGHT).pixelSize(4);
        assertEquals(
                Map.of("region", "larger than a window; name its class to refine it"),
                client.refine(coarse, region, PredictOptions.none(), lenient).refused());
        RefineOptions any = RefineOptions.of(Map.of("minIoU", 0, "maxAreaChange", 10, "minPartIoU", 0, "anySize", true));
        assertFalse(client.refine(coarse, region, PredictOptions.none(), any).refused().containsValue(
                "larger than a window; name its class to refine it"));
    }

    /** A window at 2 um per px is too small for the region. */
    @Test
    void aLargeOutlineIsRefinedAlongItsBorder() throws Exception {
        SamImage coarse = SamImage.ofPath(Pictures.file(folder), Pictures.WIDTH, Pictures.HEIGHT).pixelSize(1);
        Map<String, byte[]> outlines = new LinkedHashMap<>();
        outlines.put("small", PromptsTest.wkb("POLYGON ((340 220, 380 220, 380 260, 340 260, 340 220))"));
        outlines.put("region", PromptsTest.wkb("POLYGON ((50 50, 850 50, 850 650, 50 650, 50 50))"));
        RefineOptions border = RefineOptions.of(Map.of("minIoU", 0.5, "maxAreaChange", 10, "minPartIoU", 0, "alongBorder", true));
        Refinement answer = client.refine(coarse, outlines, PredictOptions.none(), border);
        assertEquals(Map.of(), answer.refused());
        assertEquals(List.of("small", "region"), answer.refined().stream().map(Refinement.Refined::source).toList());
        assertEquals("2", answer.refined().get(1).metadata().get("qupath-sam.downsample"));
    }

    /** As `project refine` and `segment --outline` ask, and note down. */
    @Test
    void pythonRefinesToTheSameOutlineAndNotesTheSame() throws Exception {
        Map<String, byte[]> outlines = new LinkedHashMap<>();
        outlines.put("rough", PromptsTest.wkb("POLYGON ((290.3 190, 470 215.5, 440 330, 310 340, 290.3 190))"));
        outlines.put("edge", PromptsTest.wkb("POLYGON ((-30 600, 90 590, 120 720, -20 710, -30 600))"));
        outlines.put("parts", PromptsTest.wkb(
                "MULTIPOLYGON (((590 410, 700 410, 700 520, 590 520, 590 410)), ((720 410, 730 410, 730 420, 720 410)))"));
        String program = """
                import sys, shapely
                from qupath_sam.qupath.annotations import metadata_of
                from qupath_sam.client import SamClient
                from qupath_sam.client.images import Slide
                from qupath_sam.engine.refine_prompts import prompts_from_outline
                from qupath_sam.types.regions import Region
                outlines = [shapely.from_wkb(text) for text in sys.argv[3:]]
                with SamClient(sys.argv[1]) as client:
                    prompts = [prompts_from_outline(outline, Region(0, 0, 900, 700)) for outline in outlines]
                    answer = client.predict(Slide(sys.argv[2], size=(900, 700)), prompts)
                for result in answer.results:
                    print(shapely.to_wkb(result.outlines[0].geometry, hex=True, byte_order=1).lower())
                    print(metadata_of(result, answer.provenance))
                """;
        List<String> command = new ArrayList<>(List.of(
                RealServer.python(), "-c", program, "127.0.0.1:" + server.port(), Pictures.file(folder).toString()));
        outlines.values().forEach(outline -> command.add(HexFormat.of().formatHex(outline)));
        Process python = RealServer.builder(command).start();
        String printed = new String(python.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(0, python.waitFor(), new String(python.getErrorStream().readAllBytes(), StandardCharsets.UTF_8));
        List<String> ours = new ArrayList<>();
        RefineOptions lenient = RefineOptions.of(
                Map.of("minIoU", 0, "minPartIoU", 0, "maxAreaChange", 1000, "anySize", true));
        for (Refinement.Refined refined : client.refine(image, outlines, PredictOptions.none(), lenient).refined()) {
            ours.add(HexFormat.of().formatHex(refined.mask().wkb()));
            ours.add(refined.metadata().entrySet().stream()
                    .map(entry -> "'" + entry.getKey() + "': '" + entry.getValue() + "'")
                    .collect(Collectors.joining(", ", "{", "}")));
        }
        assertEquals(printed.lines().toList(), ours);
    }

    @Test
    void aNewOutlineTakesTheNotesOfTheOldOneAway() {
        Map<String, String> metadata = new LinkedHashMap<>(Map.of(
                "by", "hand", "SAM remark", "mine", "SAM model", "other", "SAM clicks", "+1,2", "qupath-sam.clicks", "+3,4"));
        assertTrue(Provenance.isIn(metadata));
        Provenance.write(Map.of("qupath-sam.model", "fake"), metadata);
        assertEquals(Map.of("by", "hand", "SAM remark", "mine", "qupath-sam.model", "fake"), metadata);
        assertTrue(Provenance.isIn(metadata));
        assertTrue(Provenance.isIn(Map.of("SAM model", "other")));
        assertFalse(Provenance.isIn(Map.of("by", "hand")));
    }

    /** On 0.1.0 a fault was a stack trace for each image, and in a window no failure was more than a line of the log. */
    @Test
    void aRunSaysWhatCameOfEachImage() {
        List<String> said = new ArrayList<>(), shown = new ArrayList<>();
        ProjectRun.image("a.svs", false, said::add, shown::add, () -> "3 outlined");
        for (String image : List.of("b.svs", "c.svs")) {
            ScriptStopped stopped = assertThrows(ScriptStopped.class, () -> ProjectRun.image(image, false, said::add, shown::add, () -> {
                throw new UncheckedIOException("cannot write data.qpdata; make its folder writable", new IOException("x"));
            }));
            assertEquals(0, stopped.getStackTrace().length);
        }
        assertThrows(ScriptStopped.class, () -> ProjectRun.image("d.svs", false, said::add, shown::add, () -> {
            throw new SamException(FailureReason.BUSY, "too many calls; try again");
        }));
        assertEquals(
                List.of(
                        "qupath-sam: a.svs: 3 outlined",
                        "qupath-sam: b.svs: FAILED: cannot write data.qpdata; make its folder writable",
                        "qupath-sam: c.svs: FAILED: cannot write data.qpdata; make its folder writable",
                        "qupath-sam: d.svs: FAILED: too many calls; try again"),
                said);
        assertEquals(
                List.of("b.svs: FAILED: cannot write data.qpdata; make its folder writable", "d.svs: FAILED: too many calls; try again"),
                shown,
                "the next image fails as this one did");
    }

    @Test
    void theServerIsDescribed() {
        String text = client.description();
        assertTrue(text.contains("127.0.0.1:" + server.port()) && text.contains("\n  lite_medsam_histology: "), text);
        assertFalse(text.contains("\n  fake"), "the fake is for tests");
        assertTrue(text.contains("Apache-2.0"), "licences are missing");
    }
}
