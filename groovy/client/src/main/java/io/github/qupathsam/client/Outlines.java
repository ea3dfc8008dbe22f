package io.github.qupathsam.client;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.TreeSet;
import java.util.function.Function;
import org.locationtech.jts.algorithm.locate.IndexedPointInAreaLocator;
import org.locationtech.jts.geom.Coordinate;
import org.locationtech.jts.geom.Envelope;
import org.locationtech.jts.geom.Geometry;
import org.locationtech.jts.geom.GeometryFactory;
import org.locationtech.jts.geom.Location;
import org.locationtech.jts.geom.Polygonal;
import org.locationtech.jts.geom.TopologyException;
import org.locationtech.jts.geom.util.GeometryFixer;
import org.locationtech.jts.geom.util.PolygonExtracter;
import org.locationtech.jts.index.strtree.STRtree;
import org.locationtech.jts.io.ByteOrderValues;
import org.locationtech.jts.io.ParseException;
import org.locationtech.jts.io.WKBReader;
import org.locationtech.jts.io.WKBWriter;
import org.locationtech.jts.operation.buffer.BufferOp;
import org.locationtech.jts.operation.buffer.BufferParameters;
import org.locationtech.jts.operation.union.UnaryUnionOp;

/** Outlines as JTS geometries, which is what QuPath's own are. QuPath brings JTS; it is not in this jar. */
public final class Outlines {
    /** A sharp corner may move by this many times the width; that of a pixel moves by 1.4 times. */
    private static final double MITRE_LIMIT = 2;
    /** Nearer to a whole number than this, px, a coordinate is one. */
    private static final double ROUNDING = 1e-6;

    private static final double SAME_IOU = 0.5;

    private Outlines() {}

    /** The outline as the server reads it. */
    public static byte[] wkb(Geometry outline) {
        return new WKBWriter(2, ByteOrderValues.LITTLE_ENDIAN).write(outline);
    }

    /** The outline of WKB, such as a {@link SamMask}'s. */
    public static Geometry of(byte[] wkb) {
        try {
            return new WKBReader().read(wkb);
        } catch (ParseException unreadable) {
            throw new SamException(FailureReason.INVALID_PROMPT, "the outline's WKB cannot be read; write it again", unreadable);
        }
    }

    /**
     * The outline, wider by so many level-0 px on all sides, narrower where negative. What runs along pixel edges still does.
     *
     * @param width of the image, px; nothing outside of it is returned
     * @param height of the image, px
     * @return empty where nothing is left
     */
    public static Geometry grown(Geometry outline, int px, int width, int height) {
        BufferParameters corners = new BufferParameters(
                BufferParameters.DEFAULT_QUADRANT_SEGMENTS, BufferParameters.CAP_SQUARE, BufferParameters.JOIN_MITRE, MITRE_LIMIT);
        Geometry grown = BufferOp.bufferOp(outline, px, corners);
        // Corners are where two lines meet, within the precision of numbers.
        grown.apply((Coordinate place) -> {
            place.x = whole(place.x);
            place.y = whole(place.y);
        });
        grown.geometryChanged();
        return areas(grown.intersection(outline.getFactory().toGeometry(new Envelope(0, width, 0, height))));
    }

    /** What is left of the outline without its neighbours, which may cross themselves: empty where they cover it. Areas only. */
    public static Geometry cut(Geometry outline, Collection<Geometry> neighbours) {
        if (neighbours.isEmpty()) {
            return outline;
        }
        try {
            return areas(outline.difference(UnaryUnionOp.union(neighbours)));
        } catch (TopologyException | IllegalArgumentException invalid) {
            return areas(valid(outline).difference(UnaryUnionOp.union(neighbours.stream().map(Outlines::valid).toList())));
        }
    }

    /** Whether two outlines are of one object: an intersection over union of at least a half. */
    public static boolean areSame(Geometry one, Geometry other) {
        if (!one.getEnvelopeInternal().intersects(other.getEnvelopeInternal())) {
            return false;
        }
        double both = common(one, other).getArea();
        return both > 0 && both / (one.getArea() + other.getArea() - both) >= SAME_IOU;
    }

    /**
     * The objects that are none of the known ones once more ({@link #areSame}), in their order.
     *
     * <p>Looks at neighbours only: of thousands of objects and thousands of known ones not each pair.
     */
    public static <T> List<T> besides(Collection<T> objects, Collection<? extends Geometry> known, Function<? super T, ? extends Geometry> outline) {
        STRtree places = new STRtree();
        known.forEach(each -> places.insert(each.getEnvelopeInternal(), each));
        List<T> others = new ArrayList<>();
        for (T object : objects) {
            Geometry own = outline.apply(object);
            List<?> near = places.query(own.getEnvelopeInternal());
            if (near.stream().noneMatch(each -> areSame((Geometry) each, own))) {
                others.add(object);
            }
        }
        return others;
    }

    /** The objects whose centroid lies in a region, in their order. */
    public static <T> List<T> lyingIn(Collection<T> objects, Geometry region, Function<? super T, ? extends Geometry> outline) {
        IndexedPointInAreaLocator place = new IndexedPointInAreaLocator(region);
        List<T> inside = new ArrayList<>();
        for (T object : objects) {
            Coordinate centroid = outline.apply(object).getCentroid().getCoordinate();
            if (centroid != null && place.locate(centroid) != Location.EXTERIOR) {
                inside.add(object);
            }
        }
        return inside;
    }

    /**
     * The same text for the same outline, and another one as soon as a vertex has moved by .01 px, to which QuPath rounds. The order of
     * vertices and parts, which files may change, does not count.
     */
    public static String fingerprint(Geometry outline) {
        TreeSet<String> places = new TreeSet<>();
        for (Coordinate place : outline.getCoordinates()) {
            places.add(Math.round(place.x * 100) + "," + Math.round(place.y * 100));
        }
        try {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(String.join(" ", places).getBytes(StandardCharsets.US_ASCII));
            return HexFormat.of().formatHex(digest, 0, 8);
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException("every Java has SHA-256", impossible);
        }
    }

    private static Geometry common(Geometry one, Geometry other) {
        try {
            return one.intersection(other);
        } catch (TopologyException | IllegalArgumentException invalid) {
            return valid(one).intersection(valid(other));
        }
    }

    /** The areas of a shape that may cross itself, as a person may draw one: JTS works on no other. */
    private static Geometry valid(Geometry shape) {
        return areas(GeometryFixer.fix(shape));
    }

    private static double whole(double coordinate) {
        return Math.abs(coordinate - Math.rint(coordinate)) < ROUNDING ? Math.rint(coordinate) : coordinate;
    }

    /** Without the lines and points where shapes only touch. */
    private static Geometry areas(Geometry geometry) {
        if (geometry instanceof Polygonal) {
            return geometry;
        }
        GeometryFactory factory = geometry.getFactory();
        return factory.buildGeometry(PolygonExtracter.getPolygons(geometry));
    }
}
