package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;
import org.locationtech.jts.geom.Geometry;
import org.locationtech.jts.io.ByteOrderValues;
import org.locationtech.jts.io.WKBWriter;
import org.locationtech.jts.io.WKTReader;

class PromptsTest {
    static byte[] wkb(String wkt, int order) {
        try {
            Geometry geometry = new WKTReader().read(wkt);
            return new WKBWriter(2, order).write(geometry);
        } catch (Exception impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    static byte[] wkb(String wkt) {
        return wkb(wkt, ByteOrderValues.LITTLE_ENDIAN);
    }

    @Test
    void promptsAreValues() {
        Prompts first = Prompts.click(1.5, 2.5);
        Prompts second = first.remove(3.5, 4.5).named("a").continuing(new byte[] {7});
        assertEquals(1, first.clicks().size());
        assertEquals("", first.name());
        assertEquals(2, second.clicks().size());
        assertArrayEquals(new byte[] {7}, second.token());
    }

    @Test
    void boundsHoldAllThatIsSaid() {
        Prompts prompts = Prompts.box(10, 20, 30, 40).add(5, 25).remove(35, 50);
        assertEquals(new Bounds(5, 20, 35, 50), prompts.bounds());
    }

    @Test
    void boundsOfOutlinesInBothByteOrders() {
        String shape = "MULTIPOLYGON (((0 0, 10 0, 10 10, 0 10, 0 0), (2 2, 4 2, 4 4, 2 2)), ((20 -5, 30 -5, 30 8, 20 -5)))";
        Bounds expected = new Bounds(0, -5, 30, 10);
        assertEquals(expected, Prompts.outline(wkb(shape)).bounds());
        assertEquals(expected, Prompts.outline(wkb(shape, ByteOrderValues.BIG_ENDIAN)).bounds());
    }

    @Test
    void whatIsNoOutlineIsRefusedHere() {
        assertThrows(SamException.class, () -> Prompts.outline(wkb("LINESTRING (0 0, 1 1)")));
        assertThrows(SamException.class, () -> Prompts.outline(wkb("POLYGON EMPTY")));
        byte[] whole = wkb("POLYGON ((0 0, 1 0, 1 1, 0 0))");
        assertThrows(SamException.class, () -> Prompts.outline(java.util.Arrays.copyOf(whole, whole.length - 4)));
    }

    @Test
    void impossiblePromptsAreRefusedHere() {
        assertThrows(SamException.class, () -> Prompts.click(Double.NaN, 1));
        assertThrows(SamException.class, () -> Prompts.box(1, 1, 1, 5));
        assertThrows(SamException.class, () -> Prompts.box(0, 0, Double.POSITIVE_INFINITY, 1));
        assertThrows(SamException.class, () -> Prompts.of(java.util.List.of()).bounds());
    }
}
