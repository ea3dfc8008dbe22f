package io.github.qupathsam.client;

import org.locationtech.jts.geom.Geometry;
import org.locationtech.jts.io.ByteOrderValues;
import org.locationtech.jts.io.ParseException;
import org.locationtech.jts.io.WKBReader;
import org.locationtech.jts.io.WKBWriter;
import org.locationtech.jts.operation.overlayng.OverlayNG;
import org.locationtech.jts.operation.overlayng.OverlayNGRobust;

/** Outlines as JTS geometries, which is what QuPath's own are. QuPath brings JTS; it is not in this jar. */
public final class Outlines {
    private Outlines() {}

    /** The outline as the server reads it. */
    public static byte[] wkb(Geometry outline) {
        return new WKBWriter(2, ByteOrderValues.LITTLE_ENDIAN).write(outline);
    }

    /** Intersection over union, 0 to 1; 0 for two outlines without area. */
    static double iou(byte[] before, byte[] after) {
        Geometry a = read(before);
        Geometry b = read(after);
        double common = OverlayNGRobust.overlay(a, b, OverlayNG.INTERSECTION).getArea();
        double all = a.getArea() + b.getArea() - common;
        return all > 0 ? common / all : 0;
    }

    private static Geometry read(byte[] wkb) {
        try {
            return new WKBReader().read(wkb);
        } catch (ParseException wrong) {
            throw new SamException(
                    FailureReason.INVALID_PROMPT, "an outline is no WKB (" + wrong.getMessage() + "); write it anew", wrong);
        }
    }
}
