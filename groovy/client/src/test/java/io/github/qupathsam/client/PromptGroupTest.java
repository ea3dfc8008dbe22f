package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.awt.BasicStroke;
import java.awt.Shape;
import java.awt.geom.Ellipse2D;
import java.awt.geom.Path2D;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class PromptGroupTest {
    private static PromptShape point(String name, double x, double y, boolean positive) {
        return PromptShape.points(name, List.of(new Point(x, y)), positive);
    }

    @Test
    void aRectangleTakesThePointsInIt() {
        List<PromptGroup> groups = PromptGroup.of(List.of(
                point("in", 15, 15, true), PromptShape.box("box", 10, 10, 20, 20), point("out", 100, 100, true)));
        assertEquals(List.of(List.of("box", "in"), List.of("out")), groups.stream().map(PromptGroup::sources).toList());
        assertEquals(new Bounds(10, 10, 30, 30), groups.get(0).prompts().bounds());
        assertEquals("box", groups.get(0).source());
    }

    @Test
    void theSmallestOfNestedRectanglesTakesThePoint() {
        List<PromptGroup> groups = PromptGroup.of(List.of(
                PromptShape.box("large", 0, 0, 100, 100), PromptShape.box("small", 10, 10, 20, 20), point("p", 15, 15, true)));
        assertEquals(List.of("small", "p"), groups.get(1).sources());
    }

    @Test
    void aNegativePointBelongsToTheNearestObject() {
        List<PromptGroup> groups = PromptGroup.of(
                List.of(point("no", 42, 40, false), point("left", 10, 40, true), point("right", 50, 40, true)));
        assertEquals(List.of("left"), groups.get(0).sources());
        assertEquals(List.of("right", "no"), groups.get(1).sources());
        List<Click> clicks = groups.get(1).prompts().clicks();
        assertTrue(clicks.get(0).positive() && !clicks.get(1).positive());
    }

    @Test
    void onlyNegativeShapesMakeNoObject() {
        SamException failure = assertThrows(SamException.class, () -> PromptGroup.of(List.of(point("no", 1, 1, false))));
        assertEquals(FailureReason.INVALID_PROMPT, failure.reason());
    }

    @Test
    void aLineKeepsItsEndsAndEvenSteps() {
        List<Point> points = Strokes.alongLine(List.of(new Point(0, 0), new Point(30, 0), new Point(30, 40)));
        assertEquals(Strokes.MAX_POINTS, points.size());
        assertEquals(new Point(0, 0), points.get(0));
        assertEquals(new Point(30, 40), points.get(points.size() - 1));
        assertEquals(new Point(10, 0), points.get(1));
        assertEquals(new Point(30, 10), points.get(4));
    }

    @Test
    void aLineWithoutLengthIsAClick() {
        assertEquals(List.of(new Point(3, 4)), Strokes.alongLine(List.of(new Point(3, 4), new Point(3, 4))));
    }

    @Test
    void aBrushStrokeIsFollowedAlongItsMiddle() {
        Path2D line = new Path2D.Double();
        line.moveTo(1000, 1000);
        line.curveTo(1200, 800, 1400, 1200, 1600, 1000);
        Shape stroke = new BasicStroke(40, BasicStroke.CAP_ROUND, BasicStroke.JOIN_ROUND).createStrokedShape(line);
        List<Point> points = Strokes.alongArea(stroke);
        assertTrue(points.size() >= 4 && points.size() <= Strokes.MAX_POINTS, points.toString());
        for (Point point : points) {
            assertTrue(stroke.contains(point.x(), point.y()), point + " lies outside the stroke");
        }
        double reach = points.stream().mapToDouble(Point::x).max().orElseThrow()
                - points.stream().mapToDouble(Point::x).min().orElseThrow();
        assertTrue(reach > 450, "the points reach over " + reach + " of 600 px");
    }

    @Test
    void aDiscIsOnePointNearItsMiddle() {
        List<Point> points = Strokes.alongArea(new Ellipse2D.Double(0, 0, 100, 100));
        assertTrue(points.get(0).distance(new Point(50, 50)) < 4, points.toString());
        assertTrue(points.size() <= 2, points.toString());
    }

    @Test
    void aSpeckIsStillAPoint() {
        assertEquals(1, Strokes.alongArea(new Ellipse2D.Double(7, 7, 0.2, 0.2)).size());
    }

    /** A region of millimetres became the outline of what lies in its middle. */
    @Test
    void whatIsLargerThanTheWindowIsNotSeenWhole() {
        Segmentation.Outlined outlined = new Segmentation.Outlined(
                "a", List.of("a"), new SamMask(new byte[0], 1, 1, 1, 0), Map.of(), new PixelRegion(100, 200, 50, 50), false);
        assertTrue(outlined.isSeenWhole(new PixelBox(100, 200, 150, 250)));
        assertFalse(outlined.isSeenWhole(new PixelBox(100, 200, 150.5, 250)));
        assertFalse(outlined.isSeenWhole(new PixelBox(99, 210, 140, 240)));
    }
}
