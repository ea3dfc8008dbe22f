package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import java.util.stream.Collectors;
import java.util.stream.DoubleStream;
import org.junit.jupiter.api.Test;
import org.locationtech.jts.geom.Coordinate;
import org.locationtech.jts.geom.Geometry;
import org.locationtech.jts.geom.GeometryFactory;
import org.locationtech.jts.io.WKTReader;

/** What an outline is turned into when a better one is asked for. */
class OutlinePromptsTest {
    private static final SamImage IMAGE = SamImage.ofPath(Path.of("none.svs"), 1000, 800);

    private static Prompts prompts(String wkt) {
        return OutlinePrompts.of(PromptsTest.wkb(wkt), IMAGE, true);
    }

    private static Point point(Prompts prompts) {
        assertEquals(1, prompts.clicks().size());
        assertTrue(prompts.clicks().get(0).positive());
        return prompts.clicks().get(0).points().get(0);
    }

    @Test
    void anOutlineIsToldWithAWiderBoxAndItsMiddle() {
        String outline = "POLYGON ((300 200, 500 200, 500 300, 300 300, 300 200))";
        Prompts prompts = prompts(outline);
        assertArrayEquals(PromptsTest.wkb(outline), prompts.outline());
        assertArrayEquals(new double[] {290, 190, 510, 310}, prompts.box());
        assertEquals(0, point(prompts).distance(new Point(400, 250)), 100 / 127.0, "more than a cell off");
        assertEquals(List.of(), OutlinePrompts.of(PromptsTest.wkb(outline), IMAGE, false).clicks());
    }

    @Test
    void thePointIsWhereTheObjectIsWidest() {
        Point inRing = point(prompts("POLYGON ((0 0, 300 0, 300 200, 0 200, 0 0), (20 20, 180 20, 180 180, 20 180, 20 20))"));
        assertEquals(0, inRing.distance(new Point(240, 100)), 200 / 127.0, "more than a cell off");
        String parts = "MULTIPOLYGON (((0 0, 400 0, 400 10, 0 10, 0 0)), ((500 100, 540 100, 540 140, 500 140, 500 100)))";
        assertEquals(0, point(prompts(parts)).distance(new Point(520, 120)), 3);
    }

    @Test
    void atTheImagesEdgeAllStaysInside() {
        Prompts prompts = prompts("POLYGON ((-300 -50, 100 -50, 100 150, -300 150, -300 -50))");
        assertArrayEquals(new double[] {0, 0, 120, 170}, prompts.box());
        assertEquals(0, point(prompts).distance(new Point(50, 75)), 27);
        assertThrows(SamException.class, () -> prompts("POLYGON ((-9 -9, -5 -9, -5 -5, -9 -9))"));
    }

    @Test
    void whatIsTooThinForAPointHasNone() {
        Prompts sliver = prompts("POLYGON ((0 0, 500 0.01, 500 0, 0 0))");
        assertEquals(List.of(), sliver.clicks());
        assertTrue(sliver.box()[2] > 500);
    }

    @Test
    void pythonAsksTheSameToTheBit() throws Exception {
        List<byte[]> outlines = shapes().stream().map(Outlines::wkb).toList();
        String program = """
                import struct, sys, shapely
                from qupath_sam.engine.refine_prompts import prompts_from_outline
                from qupath_sam.types.regions import Region
                for line in sys.argv[1:]:
                    prompts = prompts_from_outline(shapely.from_wkb(line), Region(0, 0, 1000, 800))
                    numbers = [*prompts.box.bounds, *(v for click in prompts.clicks for p in click.points for v in p)]
                    print(struct.pack(f">{len(numbers)}d", *numbers).hex())
                """;
        List<String> command = new ArrayList<>(List.of(RealServer.python(), "-c", program));
        outlines.forEach(outline -> command.add(HexFormat.of().formatHex(outline)));
        Process python = RealServer.builder(command).start();
        String printed = new String(python.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(0, python.waitFor(), new String(python.getErrorStream().readAllBytes(), StandardCharsets.UTF_8));
        assertEquals(
                printed.lines().toList(),
                outlines.stream()
                        .map(outline -> bits(OutlinePrompts.of(outline, IMAGE, true)))
                        .toList());
    }

    private static String bits(Prompts prompts) {
        DoubleStream places = prompts.clicks().stream()
                .flatMap(click -> click.points().stream())
                .flatMapToDouble(point -> DoubleStream.of(point.x(), point.y()));
        return DoubleStream.concat(DoubleStream.of(prompts.box()), places)
                .mapToObj(value -> HexFormat.of().toHexDigits(Double.doubleToRawLongBits(value)))
                .collect(Collectors.joining());
    }

    /** Stars with holes, in several parts, over the image's edge; and shapes with many equally deep places. */
    private static List<Geometry> shapes() throws Exception {
        Random chance = new Random(7);
        List<Geometry> shapes = new ArrayList<>();
        for (int i = 0; i < 40; i++) {
            Geometry shape = star(chance, chance.nextDouble() * 1000, chance.nextDouble() * 800, 20 + 200 * chance.nextDouble());
            if (i % 2 == 0) {
                shape = shape.difference(star(chance, shape.getCentroid().getX(), shape.getCentroid().getY(), 15));
            }
            if (i % 3 == 0) {
                shape = shape.union(star(chance, chance.nextDouble() * 1000, chance.nextDouble() * 800, 90));
            }
            shapes.add(shape);
        }
        for (String wkt : List.of(
                "POLYGON ((10 10, 910.3 10, 910.3 40.7, 10 40.7, 10 10))",
                "POLYGON ((0.1 0.2, 0.3 0.2, 0.3 0.7, 0.1 0.7, 0.1 0.2))",
                "POLYGON ((100 100, 200 100, 200 200, 100 200, 100 100), (120 120, 180 120, 180 180, 120 180, 120 120))",
                "MULTIPOLYGON (((0 0, 9 0, 9 9, 0 9, 0 0)), ((20 20, 29 20, 29 29, 20 29, 20 20)))",
                "POLYGON ((0 0, 500 0.01, 500 0, 0 0))")) {
            shapes.add(new WKTReader().read(wkt));
        }
        return shapes;
    }

    private static Geometry star(Random chance, double x, double y, double radius) {
        Coordinate[] ring = new Coordinate[31];
        for (int i = 0; i < 30; i++) {
            double reach = radius * (0.4 + 0.6 * chance.nextDouble());
            ring[i] = new Coordinate(x + reach * Math.cos(i * Math.PI / 15), y + reach * Math.sin(i * Math.PI / 15));
        }
        ring[30] = ring[0].copy();
        return new GeometryFactory().createPolygon(ring);
    }
}
