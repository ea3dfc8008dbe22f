package io.github.qupathsam.client;

import java.awt.geom.Path2D;
import java.awt.geom.PathIterator;
import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** As much of well-known binary as drawing and finding an outline takes; all else about geometry is left to others. */
final class Wkb {
    private static final int POLYGON = 3;
    private static final int MULTI_POLYGON = 6;

    private Wkb() {}

    /** Bounds of a Polygon or MultiPolygon of 2-D coordinates, either byte order. */
    static Bounds bounds(byte[] wkb) {
        Bounds bounds = null;
        double[] place = new double[6];
        // Not Path2D's own bounds: they keep a width, and give back another edge than they were given.
        for (PathIterator path = shape(wkb).getPathIterator(null); !path.isDone(); path.next()) {
            if (path.currentSegment(place) != PathIterator.SEG_CLOSE) {
                Bounds here = Bounds.of(new Point(place[0], place[1]));
                bounds = bounds == null ? here : bounds.with(here);
            }
        }
        if (bounds == null) {
            throw new SamException(FailureReason.INVALID_PROMPT, "the outline is empty; leave it out");
        }
        return bounds;
    }

    /** A Polygon or MultiPolygon of 2-D coordinates to draw; holes are holes. */
    static Path2D shape(byte[] wkb) {
        Path2D shape = new Path2D.Double(Path2D.WIND_EVEN_ODD);
        try {
            read(ByteBuffer.wrap(wkb), shape);
        } catch (BufferUnderflowException cut) {
            throw new SamException(FailureReason.INVALID_PROMPT, "the outline's WKB ends too early; write it again", cut);
        }
        return shape;
    }

    private static void read(ByteBuffer buffer, Path2D shape) {
        buffer.order(buffer.get() == 0 ? ByteOrder.BIG_ENDIAN : ByteOrder.LITTLE_ENDIAN);
        int type = buffer.getInt();
        if (type != POLYGON && type != MULTI_POLYGON) {
            throw new SamException(
                    FailureReason.INVALID_PROMPT,
                    "an outline must be a 2-D Polygon or MultiPolygon as WKB, got type " + type);
        }
        int parts = buffer.getInt();
        for (int part = 0; part < parts; part++) {
            if (type == POLYGON) {
                ring(buffer, shape);
            } else {
                read(buffer, shape);
            }
        }
    }

    private static void ring(ByteBuffer buffer, Path2D shape) {
        int points = buffer.getInt();
        for (int i = 0; i < points; i++) {
            Point point = new Point(buffer.getDouble(), buffer.getDouble());
            if (i == 0) {
                shape.moveTo(point.x(), point.y());
            } else {
                shape.lineTo(point.x(), point.y());
            }
        }
        if (points > 0) {
            shape.closePath();
        }
    }
}
