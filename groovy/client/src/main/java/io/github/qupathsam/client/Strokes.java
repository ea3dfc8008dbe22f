package io.github.qupathsam.client;

import java.awt.Rectangle;
import java.awt.Shape;
import java.awt.image.BufferedImage;
import java.util.ArrayList;
import java.util.List;

/** Lines and brush strokes as the few points that a model takes as one scribble. */
public final class Strokes {
    /** More points than these say nothing new to the models at hand. */
    static final int MAX_POINTS = 8;

    /** Longer side of the raster on which the middle of a brush stroke is looked for. */
    private static final int RASTER = 96;

    private Strokes() {}

    /** Points at even distances along a line, both ends among them. */
    public static List<Point> alongLine(List<Point> line) {
        double length = 0;
        for (int i = 1; i < line.size(); i++) {
            length += line.get(i - 1).distance(line.get(i));
        }
        if (line.size() < 2 || length == 0) {
            return line.isEmpty() ? List.of() : List.of(line.get(0));
        }
        List<Point> points = new ArrayList<>();
        double step = length / (MAX_POINTS - 1);
        double ahead = 0;
        for (int i = 1; i < line.size(); i++) {
            Point from = line.get(i - 1);
            Point to = line.get(i);
            double part = from.distance(to);
            // The last point is added below, so that rounding cannot lose it.
            for (; ahead <= part && points.size() < MAX_POINTS - 1 && part > 0; ahead += step) {
                double share = ahead / part;
                points.add(new Point(from.x() + share * (to.x() - from.x()), from.y() + share * (to.y() - from.y())));
            }
            ahead -= part;
        }
        points.add(line.get(line.size() - 1));
        return points;
    }

    /**
     * Points in the middle of a painted area, spread over its length.
     *
     * <p>The middle is where the distance to the edge is greatest round about; points are chosen farthest from one another.
     */
    public static List<Point> alongArea(Shape area) {
        Rectangle bounds = area.getBounds();
        double scale = Math.max(1, Math.max(bounds.width, bounds.height)) / (double) RASTER;
        boolean[][] inside = rasterise(area, bounds, scale);
        int[][] depth = depths(inside);
        int deepest = 0;
        for (int[] row : depth) {
            for (int value : row) {
                deepest = Math.max(deepest, value);
            }
        }
        List<Point> middle = new ArrayList<>();
        Point first = null;
        for (int y = 1; y < depth.length - 1; y++) {
            for (int x = 1; x < depth[0].length - 1; x++) {
                Point place = new Point(bounds.x + (x - 0.5) * scale, bounds.y + (y - 0.5) * scale);
                // Bumps of the edge are ridges too, but shallow ones.
                if (2 * depth[y][x] > deepest && isRidge(depth, x, y) && area.contains(place.x(), place.y())) {
                    middle.add(place);
                    first = first == null && depth[y][x] == deepest ? place : first;
                }
            }
        }
        if (first == null) {
            return List.of(new Point(area.getBounds2D().getCenterX(), area.getBounds2D().getCenterY()));
        }
        return spread(middle, first, 2.0 * deepest * scale);
    }

    /** One px of margin on each side. */
    private static boolean[][] rasterise(Shape area, Rectangle bounds, double scale) {
        int width = (int) Math.ceil(Math.max(1, bounds.width) / scale) + 2;
        int height = (int) Math.ceil(Math.max(1, bounds.height) / scale) + 2;
        BufferedImage raster = new BufferedImage(width, height, BufferedImage.TYPE_BYTE_GRAY);
        var graphics = raster.createGraphics();
        graphics.translate(1, 1);
        graphics.scale(1 / scale, 1 / scale);
        graphics.translate(-bounds.x, -bounds.y);
        graphics.fill(area);
        graphics.dispose();
        boolean[][] inside = new boolean[height][width];
        for (int y = 0; y < height; y++) {
            for (int x = 0; x < width; x++) {
                inside[y][x] = raster.getRaster().getSample(x, y, 0) > 0;
            }
        }
        return inside;
    }

    /** City-block distance to the outside, in two sweeps. */
    private static int[][] depths(boolean[][] inside) {
        int height = inside.length;
        int width = inside[0].length;
        int[][] depth = new int[height][width];
        for (int y = 1; y < height - 1; y++) {
            for (int x = 1; x < width - 1; x++) {
                depth[y][x] = inside[y][x] ? 1 + Math.min(depth[y - 1][x], depth[y][x - 1]) : 0;
            }
        }
        for (int y = height - 2; y > 0; y--) {
            for (int x = width - 2; x > 0; x--) {
                int back = 1 + Math.min(depth[y + 1][x], depth[y][x + 1]);
                depth[y][x] = Math.min(depth[y][x], back);
            }
        }
        return depth;
    }

    private static boolean isRidge(int[][] depth, int x, int y) {
        int own = depth[y][x];
        return own >= depth[y - 1][x] && own >= depth[y + 1][x] && own >= depth[y][x - 1] && own >= depth[y][x + 1];
    }

    private static List<Point> spread(List<Point> candidates, Point first, double closest) {
        List<Point> chosen = new ArrayList<>(List.of(first));
        while (chosen.size() < MAX_POINTS) {
            Point farthest = null;
            double distance = closest;
            for (Point candidate : candidates) {
                double nearest = chosen.stream().mapToDouble(candidate::distance).min().orElse(0);
                if (nearest > distance) {
                    distance = nearest;
                    farthest = candidate;
                }
            }
            if (farthest == null) {
                break;
            }
            chosen.add(farthest);
        }
        return chosen;
    }
}
