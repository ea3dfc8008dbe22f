package io.github.qupathsam.client;

import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** As much of well-known binary as a client needs that leaves geometry to others: the bounds of polygons. */
final class Wkb {
    private static final int POLYGON = 3;
    private static final int MULTI_POLYGON = 6;

    private Wkb() {}

    /** Bounds of a Polygon or MultiPolygon of 2-D coordinates, either byte order. */
    static Bounds bounds(byte[] wkb) {
        try {
            Bounds bounds = read(ByteBuffer.wrap(wkb));
            if (bounds != null) {
                return bounds;
            }
        } catch (BufferUnderflowException cut) {
            throw new SamException(FailureReason.INVALID_PROMPT, "the outline's WKB ends too early; write it anew", cut);
        }
        throw new SamException(FailureReason.INVALID_PROMPT, "the outline is empty; leave it out");
    }

    private static Bounds read(ByteBuffer buffer) {
        buffer.order(buffer.get() == 0 ? ByteOrder.BIG_ENDIAN : ByteOrder.LITTLE_ENDIAN);
        int type = buffer.getInt();
        if (type != POLYGON && type != MULTI_POLYGON) {
            throw new SamException(
                    FailureReason.INVALID_PROMPT,
                    "an outline must be a 2-D Polygon or MultiPolygon as WKB, got type " + type);
        }
        Bounds bounds = null;
        int parts = buffer.getInt();
        for (int part = 0; part < parts; part++) {
            Bounds next = type == POLYGON ? ring(buffer) : read(buffer);
            bounds = bounds == null ? next : next == null ? bounds : bounds.with(next);
        }
        return bounds;
    }

    private static Bounds ring(ByteBuffer buffer) {
        Bounds bounds = null;
        int points = buffer.getInt();
        for (int point = 0; point < points; point++) {
            Bounds next = Bounds.of(new Point(buffer.getDouble(), buffer.getDouble()));
            bounds = bounds == null ? next : bounds.with(next);
        }
        return bounds;
    }
}
