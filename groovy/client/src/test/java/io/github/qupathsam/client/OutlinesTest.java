package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;

import org.junit.jupiter.api.Test;
import org.locationtech.jts.geom.Geometry;
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
}
