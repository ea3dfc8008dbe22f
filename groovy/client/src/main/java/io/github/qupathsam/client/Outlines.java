package io.github.qupathsam.client;

import org.locationtech.jts.geom.Geometry;
import org.locationtech.jts.io.ByteOrderValues;
import org.locationtech.jts.io.WKBWriter;

/** Outlines as JTS geometries, which is what QuPath's own are. QuPath brings JTS; it is not in this jar. */
public final class Outlines {
    private Outlines() {}

    /** The outline as the server reads it. */
    public static byte[] wkb(Geometry outline) {
        return new WKBWriter(2, ByteOrderValues.LITTLE_ENDIAN).write(outline);
    }
}
