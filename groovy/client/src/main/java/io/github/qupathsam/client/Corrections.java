package io.github.qupathsam.client;

import java.util.LinkedHashMap;
import java.util.Map;
import org.locationtech.jts.geom.Geometry;

/**
 * Whether a person has changed an object since it was found, by what its metadata says of it as it was then. Python's
 * {@code qupath_sam.qupath.corrections} writes and reads the same metadata.
 */
public final class Corrections {
    static final String OUTLINE = "qupath-sam.outline";
    static final String FOUND_CLASS = "qupath-sam.found_class";
    static final String FOUND_NAME = "qupath-sam.found_name";
    static final String FOUND_COLOUR = "qupath-sam.found_colour";
    /** Where QuPath keeps the description of an object. */
    static final String DESCRIPTION = "ANNOTATION_DESCRIPTION";

    private Corrections() {}

    /**
     * The metadata by which a correction of a found object is known.
     *
     * @param outline level-0 px
     * @param pathClass null for none
     * @param name null for none
     * @param colour its own, packed ARGB; null for none
     */
    public static Map<String, String> marks(Geometry outline, Object pathClass, String name, Integer colour) {
        Map<String, String> marks = new LinkedHashMap<>();
        marks.put(FOUND_CLASS, String.valueOf(pathClass));
        if (!text(name).isEmpty()) {
            marks.put(FOUND_NAME, name);
        }
        if (colour != null) {
            marks.put(FOUND_COLOUR, text(colour));
        }
        marks.put(OUTLINE, Outlines.fingerprint(outline));
        return marks;
    }

    /**
     * Whether a person has given an object another outline, class, name, description or colour.
     *
     * <p>A class with a probability is a classifier's, not a person's. What the metadata does not say is not compared.
     *
     * @param metadata of the object
     * @param outline level-0 px
     * @param pathClass null for none
     * @param probability of the class; NaN where unknown
     * @param name null for none
     * @param colour its own, packed ARGB; null for none
     */
    public static boolean isCorrected(
            Map<String, String> metadata, Geometry outline, Object pathClass, double probability, String name, Integer colour) {
        String made = metadata.get(OUTLINE);
        if (made != null && !made.equals(Outlines.fingerprint(outline))) {
            return true;
        }
        String foundClass = metadata.get(FOUND_CLASS);
        if (foundClass == null) {
            return false;
        }
        return (!foundClass.equals(String.valueOf(pathClass)) && Double.isNaN(probability))
                || !text(name).equals(text(metadata.get(FOUND_NAME)))
                || (colour != null && !text(colour).equals(metadata.get(FOUND_COLOUR)))
                || !text(metadata.get(DESCRIPTION)).isEmpty();
    }

    private static String text(String value) {
        return value == null ? "" : value.strip();
    }

    private static String text(Integer colour) {
        return String.format("%08x", colour);
    }
}
