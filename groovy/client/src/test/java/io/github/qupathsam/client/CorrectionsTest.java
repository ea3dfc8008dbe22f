package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.locationtech.jts.geom.Geometry;
import org.locationtech.jts.io.ParseException;
import org.locationtech.jts.io.WKTReader;

/** Python's test_corrections.py has the same cases. */
class CorrectionsTest {
    private static final double NO_PROBABILITY = Double.NaN;
    private static final int BLUE = 0xff0000ff;

    private final Geometry outline = of("POLYGON ((0 0, 10.25 0, 10.25 7.5, 0 7.5, 0 0))");

    private static Geometry of(String wkt) {
        try {
            return new WKTReader().read(wkt);
        } catch (ParseException wrong) {
            throw new IllegalArgumentException(wrong);
        }
    }

    private static Map<String, String> with(Map<String, String> metadata, String key, String value) {
        Map<String, String> changed = new HashMap<>(metadata);
        changed.put(key, value);
        return changed;
    }

    @Test
    void theMarksAreThoseOfPython() {
        assertEquals(
                Map.of("qupath-sam.found_class", "Tumor: Positive", "qupath-sam.outline", "729db01d5fa12576"),
                Corrections.marks(outline, "Tumor: Positive", null, null));
        assertEquals(
                Map.of("qupath-sam.found_class", "null", "qupath-sam.found_name", "A", "qupath-sam.found_colour", "ff0000ff",
                        "qupath-sam.outline", "729db01d5fa12576"),
                Corrections.marks(outline, null, "A", BLUE));
    }

    @Test
    void whatIsAsItWasFoundIsNotCorrected() {
        Map<String, String> found = Corrections.marks(outline, "Nucleus", null, null);
        assertFalse(Corrections.isCorrected(found, outline, "Nucleus", NO_PROBABILITY, null, null));
        assertFalse(Corrections.isCorrected(found, outline, "Nucleus", NO_PROBABILITY, " ", null), "a dialog that was left with OK");
        assertFalse(Corrections.isCorrected(with(found, Corrections.DESCRIPTION, ""), outline, "Nucleus", NO_PROBABILITY, null, null));
        Map<String, String> carried = Corrections.marks(outline, null, "A", BLUE);
        assertFalse(Corrections.isCorrected(carried, outline, null, NO_PROBABILITY, "A", BLUE));
        assertFalse(Corrections.isCorrected(carried, outline, null, NO_PROBABILITY, "A", null), "a class takes the colour away");
    }

    @Test
    void eachThingThatAPersonGivesIsACorrection() {
        Map<String, String> found = Corrections.marks(outline, "Nucleus", null, null);
        assertTrue(Corrections.isCorrected(found, of("POLYGON ((0 0, 9 0, 9 7.5, 0 7.5, 0 0))"), "Nucleus", NO_PROBABILITY, null, null));
        assertTrue(Corrections.isCorrected(found, outline, "Mitosis", NO_PROBABILITY, null, null));
        assertTrue(Corrections.isCorrected(found, outline, null, NO_PROBABILITY, null, null), "a class taken away");
        assertTrue(Corrections.isCorrected(found, outline, "Nucleus", NO_PROBABILITY, "look here", null));
        assertTrue(Corrections.isCorrected(found, outline, "Nucleus", NO_PROBABILITY, null, BLUE));
        assertTrue(Corrections.isCorrected(with(found, Corrections.DESCRIPTION, "odd"), outline, "Nucleus", NO_PROBABILITY, null, null));
        Map<String, String> carried = Corrections.marks(outline, null, "A", BLUE);
        assertTrue(Corrections.isCorrected(carried, outline, null, NO_PROBABILITY, "B", BLUE));
        assertTrue(Corrections.isCorrected(carried, outline, null, NO_PROBABILITY, null, BLUE));
    }

    @Test
    void aClassifiersClassIsNoPersons() {
        Map<String, String> found = Corrections.marks(outline, "Nucleus", null, null);
        assertFalse(Corrections.isCorrected(found, outline, "Tumor", 0.8, null, null));
        assertTrue(Corrections.isCorrected(found, outline, "Tumor", 0.8, "but this one", null));
    }

    /** Those of the first versions have the outline alone, or nothing. */
    @Test
    void whatTheMetadataDoesNotSayIsNotCompared() {
        Map<String, String> older = Map.of("qupath-sam.outline", "729db01d5fa12576");
        assertFalse(Corrections.isCorrected(older, outline, "Mitosis", NO_PROBABILITY, "look here", BLUE));
        assertTrue(Corrections.isCorrected(older, of("POLYGON ((0 0, 9 0, 9 7.5, 0 7.5, 0 0))"), null, NO_PROBABILITY, null, null));
        assertFalse(Corrections.isCorrected(Map.of(), outline, "Mitosis", NO_PROBABILITY, "look here", BLUE));
    }
}
