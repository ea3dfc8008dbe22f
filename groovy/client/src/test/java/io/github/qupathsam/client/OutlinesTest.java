package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.locationtech.jts.geom.Geometry;
import org.locationtech.jts.geom.TopologyException;
import org.locationtech.jts.io.ParseException;
import org.locationtech.jts.io.WKTReader;

class OutlinesTest {
    private static Geometry of(String wkt) throws ParseException {
        return new WKTReader().read(wkt);
    }

    /** Python's test of its own has the same texts. */
    @Test
    void aFingerprintIsTheSameInEveryLanguage() throws Exception {
        assertEquals("729db01d5fa12576", Outlines.fingerprint(of("POLYGON ((0 0, 10.25 0, 10.25 7.5, 0 7.5, 0 0))")));
        assertEquals("d5cb3faff84b32e8", Outlines.fingerprint(of("MULTIPOLYGON (((-1 -2.5, 3 4, 5 -6, -1 -2.5)), ((100 100, 110 100, 110 110.07, 100 100)))")));
    }

    @Test
    void neitherOrderNorWhatQuPathRoundsAwayCounts() throws Exception {
        String made = Outlines.fingerprint(of("POLYGON ((0 0, 10.25 0, 10.25 7.5, 0 7.5, 0 0))"));
        assertEquals(made, Outlines.fingerprint(of("POLYGON ((10.2501 7.4999, 10.25 0, 0 0, 0 7.5, 10.2501 7.4999))")));
        assertNotEquals(made, Outlines.fingerprint(of("POLYGON ((0 0, 10.26 0, 10.25 7.5, 0 7.5, 0 0))")));
        assertNotEquals(made, Outlines.fingerprint(of("POLYGON ((0 0, 10.25 0, 10.25 7.5, 0 0))")));
    }

    @Test
    void whatIsKnownIsFoundAmongItsNeighboursOnly() throws Exception {
        List<Geometry> known = List.of(square(0, 0), square(20, 0), square(40, 0));
        List<Geometry> found = List.of(square(40, 4), square(0, 1), square(20, 8), square(60, 0));
        AtomicInteger asked = new AtomicInteger();
        List<Geometry> others = Outlines.besides(found, known, each -> {
            asked.incrementAndGet();
            return each;
        });
        assertEquals(List.of(found.get(0), found.get(2), found.get(3)), others, "an IoU of 6/14, of 2/18, and nothing near");
        assertEquals(found.size(), asked.get(), "QuPath copies an outline each time it is asked for it");
        assertEquals(found, Outlines.besides(found, List.of(), each -> each));
    }

    @Test
    void whatLiesInARegionLiesThereByItsCentroid() throws Exception {
        List<Geometry> objects = List.of(square(0, 0), square(14, 0), square(16, 0), square(40, 0));
        Geometry region = of("POLYGON ((0 0, 20 0, 20 20, 0 20, 0 0))");
        assertEquals(objects.subList(0, 2), Outlines.lyingIn(objects, region, each -> each));
    }

    /** A person may draw an outline that crosses itself: JTS throws, and what was kept was lost. */
    @Test
    void aNeighbourThatCrossesItselfIsCutAwayAsFarAsItHasAnArea() throws Exception {
        Geometry crossing = of("POLYGON ((5 5, 15 15, 15 5, 5 15, 5 5))");
        Geometry kept = square(0, 0);
        assertThrows(TopologyException.class, () -> kept.difference(crossing));
        Geometry rest = Outlines.cut(kept, List.of(crossing));
        assertEquals(100 - 12.5, rest.getArea(), 1e-9, "the triangle (5 5, 10 10, 5 10) of it lies here");
        assertTrue(rest.isValid());
        Geometry lines = of("GEOMETRYCOLLECTION (POLYGON ((5 5, 15 5, 15 15, 5 15, 5 5)), LINESTRING (0 0, 3 3))");
        assertEquals(75, Outlines.cut(kept, List.of(lines)).getArea(), 1e-9);
    }

    @Test
    void anOutlineThatCrossesItselfIsComparedAllTheSame() throws Exception {
        Geometry crossing = of("POLYGON ((0 0, 10 0, 10 10, 2 10, 2 -1, 0 0))");
        assertThrows(TopologyException.class, () -> square(0, 0).intersection(crossing));
        assertTrue(Outlines.areSame(square(0, 0), crossing));
    }

    private static Geometry square(int x, int y) throws ParseException {
        return of("POLYGON ((%d %d, %d %d, %d %d, %d %d, %1$d %2$d))".formatted(x, y, x + 10, y, x + 10, y + 10, x, y + 10));
    }
}
