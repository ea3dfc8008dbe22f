package io.github.qupathsam.client;

import java.awt.geom.Path2D;
import java.awt.geom.PathIterator;

/**
 * The centre of the largest circle inscribed in a shape (the pole of inaccessibility), on a grid.
 *
 * <p>To the bit that of {@code deepest_points} in {@code qupath_sam/engine/refine_prompts.py}: both count in whole cells. JTS and Python's GEOS
 * find different centres of a shape that has several, and QuPath brings another JTS with each version. Change both or none.
 */
final class InnermostPoint {
    /** Cells along the shorter side, odd so that a rectangle's middle is a cell's. */
    private static final int GRID = 127;
    /** Most cells along the longer side. */
    private static final int LONGEST_GRID = 2047;

    private final double left;
    private final double top;
    private final double cell;
    private final int columns;
    private final int rows;

    private InnermostPoint(Bounds within) {
        double width = within.maxX() - within.minX();
        double height = within.maxY() - within.minY();
        left = within.minX();
        top = within.minY();
        cell = Math.max(Math.min(width, height) / GRID, Math.max(width, height) / LONGEST_GRID);
        columns = Math.max(1, (int) (width / cell + 0.5));
        rows = Math.max(1, (int) (height / cell + 0.5));
    }

    /**
     * @param shape of straight lines; what lies beyond {@code within} does not count
     * @return null where the shape is too thin for the grid
     */
    static Point of(Path2D shape, Bounds within) {
        if (!(within.minX() < within.maxX() && within.minY() < within.maxY())) {
            return null;
        }
        InnermostPoint grid = new InnermostPoint(within);
        return grid.deepest(grid.inside(shape));
    }

    /** Which cells have their centre in the shape, by counting crossings from the left (even-odd rule). */
    private boolean[][] inside(Path2D shape) {
        boolean[][] crossed = new boolean[rows][columns + 1];
        double[] place = new double[6];
        double x = 0;
        double y = 0;
        for (PathIterator path = shape.getPathIterator(null); !path.isDone(); path.next()) {
            int kind = path.currentSegment(place);
            if (kind == PathIterator.SEG_CLOSE) {
                continue; // a ring ends where it began
            }
            double nextX = (place[0] - left) / cell;
            double nextY = (place[1] - top) / cell;
            if (kind == PathIterator.SEG_LINETO) {
                cross(crossed, x, y, nextX, nextY);
            }
            x = nextX;
            y = nextY;
        }
        for (boolean[] row : crossed) {
            for (int column = 1; column < columns; column++) {
                row[column] ^= row[column - 1];
            }
        }
        return crossed;
    }

    private void cross(boolean[][] crossed, double x0, double y0, double x1, double y1) {
        int last = before(Math.max(y0, y1), rows);
        for (int row = before(Math.min(y0, y1), rows); row < last; row++) {
            double at = x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0);
            crossed[row][before(at, columns)] ^= true;
        }
    }

    /** How many cells, of so many, have their centre before a place. */
    private static int before(double place, int cells) {
        return (int) Math.min(Math.max(Math.ceil(place - 0.5), 0), cells);
    }

    /** The cell that is farthest from all that is outside; of equal ones that nearest to the middle, of these the first. */
    private Point deepest(boolean[][] inside) {
        int[][] vertical = vertical(inside);
        long deepest = 0;
        long offMiddle = 0;
        Point found = null;
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns; column++) {
                long squared = squaredDepth(vertical[row], column);
                long off = square(2 * column + 1 - columns) + square(2 * row + 1 - rows);
                if (squared > deepest || (squared == deepest && found != null && off < offMiddle)) {
                    deepest = squared;
                    offMiddle = off;
                    found = new Point(left + (column + 0.5) * cell, top + (row + 0.5) * cell);
                }
            }
        }
        return found;
    }

    /** For each cell how many rows away the nearest one outside is, 0 for one outside. */
    private int[][] vertical(boolean[][] inside) {
        int[][] distance = new int[rows][columns];
        for (int column = 0; column < columns; column++) {
            for (int row = 0, run = 0; row < rows; row++) {
                run = inside[row][column] ? run + 1 : 0;
                distance[row][column] = run;
            }
            for (int row = rows - 1, run = 0; row >= 0; row--) {
                run = inside[row][column] ? run + 1 : 0;
                distance[row][column] = Math.min(distance[row][column], run);
            }
        }
        return distance;
    }

    private long squaredDepth(int[] vertical, int column) {
        long nearest = square(vertical[column]);
        for (int away = 1; square(away) < nearest; away++) {
            for (int other : new int[] {column - away, column + away}) {
                int down = other < 0 || other >= columns ? 0 : vertical[other];
                nearest = Math.min(nearest, square(away) + square(down));
            }
        }
        return nearest;
    }

    private static long square(long value) {
        return value * value;
    }
}
