package io.github.qupathsam.client;

import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.Font;
import java.awt.FontMetrics;
import java.awt.Graphics2D;
import java.awt.RenderingHints;
import java.awt.Shape;
import java.awt.geom.Arc2D;
import java.awt.geom.Ellipse2D;
import java.awt.geom.Line2D;
import java.awt.geom.Path2D;
import java.awt.geom.Rectangle2D;
import java.awt.geom.RoundRectangle2D;
import java.util.ArrayList;
import java.util.List;
import java.util.function.BiFunction;

/** Draws an object that is being clicked, at the same size on the screen at every zoom. */
public final class ClickPainter {
    private static final Color POSITIVE = new Color(0, 150, 70);
    private static final Color NEGATIVE = new Color(205, 40, 40);
    private static final Color POSITIVE_MARK = new Color(0, 150, 70, 150);
    private static final Color NEGATIVE_MARK = new Color(205, 40, 40, 150);
    private static final Color SHADOW = new Color(0, 0, 0, 130);
    private static final Color BOX = new Color(25, 25, 30, 215);
    /** Opacity of the line round an outline that the model doubts. */
    private static final double UNSURE_LINE = 0.45;
    private static final int TURN_MS = 900;
    private static final int TEXT_WIDTH = 460;
    /** How far a text is from the pointer: the clicked place stays in sight. */
    private static final int POINTER = 18;
    private static final int LINE_HEIGHT = 18;

    private ClickPainter() {}

    /**
     * The outline under way, its clicks, and whether the server is working.
     *
     * @param graphics draws in level-0 px; left as it was
     * @param px level-0 px per screen px
     * @param outline {@link ClickView#outline()}, made once for many paintings; or null
     * @param opacity of its inside, 0 to 1
     */
    public static void paint(
            Graphics2D graphics, double px, ClickView view, Shape outline, Color colour, double opacity) {
        Graphics2D g = smooth(graphics);
        if (outline != null) {
            paintOutline(g, px, outline, colour, view, opacity);
        }
        if (view.box() != null) {
            paintBox(g, px, view.box());
        }
        view.clicks().forEach(click -> paintClick(g, px, click));
        if (view.working()) {
            paintSpinner(g, px, workedOn(view), System.currentTimeMillis());
        }
        g.dispose();
    }

    /** A box that is being drawn. */
    public static void paintBox(Graphics2D graphics, double px, PixelBox box) {
        Graphics2D g = smooth(graphics);
        Shape shape = new Rectangle2D.Double(box.minX(), box.minY(), box.maxX() - box.minX(), box.maxY() - box.minY());
        g.setStroke(new BasicStroke((float) (3 * px)));
        g.setColor(SHADOW);
        g.draw(shape);
        g.setStroke(new BasicStroke((float) (1.4 * px)));
        g.setColor(Color.WHITE);
        g.draw(shape);
        g.dispose();
    }

    /** A stroke that is being drawn, or was. */
    public static void paintStroke(Graphics2D graphics, double px, List<Point> points, boolean positive) {
        Graphics2D g = smooth(graphics);
        Path2D path = new Path2D.Double();
        path.moveTo(points.get(0).x(), points.get(0).y());
        points.forEach(point -> path.lineTo(point.x(), point.y()));
        g.setStroke(new BasicStroke((float) (5 * px), BasicStroke.CAP_ROUND, BasicStroke.JOIN_ROUND));
        g.setColor(Color.WHITE);
        g.draw(path);
        g.setStroke(new BasicStroke((float) (3 * px), BasicStroke.CAP_ROUND, BasicStroke.JOIN_ROUND));
        g.setColor(positive ? POSITIVE : NEGATIVE);
        g.draw(path);
        g.dispose();
    }

    private static Point workedOn(ClickView view) {
        if (!view.clicks().isEmpty()) {
            return view.clicks().get(view.clicks().size() - 1).points().get(0);
        }
        PixelBox box = view.box();
        return box == null ? new Point(0, 0) : new Point((box.minX() + box.maxX()) / 2, (box.minY() + box.maxY()) / 2);
    }

    /**
     * A message in a box.
     *
     * @param graphics draws in screen px; left as it was
     * @param x of the box's left edge
     * @param y of its upper edge
     */
    public static void paintText(Graphics2D graphics, String text, double x, double y) {
        paintText(graphics, text, (width, height) -> new Point(x, y));
    }

    /**
     * A message beside the pointer: to its lower right, or on the other side where the view ends.
     *
     * @param graphics draws in screen px from the view's upper left corner; left as it was
     * @param x of the pointer
     * @param y of the pointer
     */
    public static void paintBeside(Graphics2D graphics, String text, double x, double y, int viewWidth, int viewHeight) {
        paintText(graphics, text, (width, height) -> new Point(
                x + POINTER + width <= viewWidth ? x + POINTER : Math.max(0, x - POINTER - width),
                y + POINTER + height <= viewHeight ? y + POINTER : Math.max(0, y - POINTER - height)));
    }

    private static void paintText(Graphics2D graphics, String text, BiFunction<Integer, Integer, Point> place) {
        Graphics2D g = smooth(graphics);
        g.setFont(new Font(Font.SANS_SERIF, Font.PLAIN, 13));
        FontMetrics metrics = g.getFontMetrics();
        List<String> lines = wrapped(text, metrics, TEXT_WIDTH);
        int width = lines.stream().mapToInt(metrics::stringWidth).max().orElse(0) + 24;
        int height = LINE_HEIGHT * lines.size() + 14;
        Point corner = place.apply(width, height);
        g.translate(corner.x(), corner.y());
        g.setColor(BOX);
        g.fill(new RoundRectangle2D.Double(0, 0, width, height, 10, 10));
        g.setColor(Color.WHITE);
        for (int i = 0; i < lines.size(); i++) {
            g.drawString(lines.get(i), 12, 21 + LINE_HEIGHT * i);
        }
        g.dispose();
    }

    private static Graphics2D smooth(Graphics2D graphics) {
        Graphics2D g = (Graphics2D) graphics.create();
        g.setRenderingHint(RenderingHints.KEY_ANTIALIASING, RenderingHints.VALUE_ANTIALIAS_ON);
        g.setRenderingHint(RenderingHints.KEY_STROKE_CONTROL, RenderingHints.VALUE_STROKE_PURE);
        return g;
    }

    private static void paintOutline(
            Graphics2D g, double px, Shape outline, Color colour, ClickView view, double opacity) {
        // An outline that the model doubts, or that is about to change, is paler than one to keep.
        g.setColor(translucent(colour, opacity * (view.unsure() || view.working() ? 0.5 : 1)));
        g.fill(outline);
        double line = view.unsure() ? UNSURE_LINE : 1;
        g.setStroke(new BasicStroke((float) (4 * px), BasicStroke.CAP_ROUND, BasicStroke.JOIN_ROUND));
        g.setColor(translucent(Color.BLACK, SHADOW.getAlpha() / 255.0 * line));
        g.draw(outline);
        float[] dashes = {(float) (6 * px), (float) (3 * px)};
        g.setStroke(new BasicStroke((float) (2 * px), BasicStroke.CAP_BUTT, BasicStroke.JOIN_ROUND, 1, dashes, 0));
        g.setColor(translucent(colour, line));
        g.draw(outline);
    }

    private static Color translucent(Color colour, double opacity) {
        int alpha = (int) Math.round(255 * Math.max(0, Math.min(1, opacity)));
        return new Color(colour.getRed(), colour.getGreen(), colour.getBlue(), alpha);
    }

    private static void paintClick(Graphics2D g, double px, Click click) {
        if (click.points().size() > 1) {
            paintStroke(g, px, click.points(), click.positive());
            return;
        }
        Point place = click.points().get(0);
        double r = 6 * px;
        double arm = 3 * px;
        Shape disc = new Ellipse2D.Double(place.x() - r, place.y() - r, 2 * r, 2 * r);
        // Half transparent: an outline may have a hole as small as the marker.
        g.setColor(click.positive() ? POSITIVE_MARK : NEGATIVE_MARK);
        g.fill(disc);
        g.setColor(Color.WHITE);
        g.setStroke(new BasicStroke((float) (1.6 * px)));
        g.draw(disc);
        g.draw(new Line2D.Double(place.x() - arm, place.y(), place.x() + arm, place.y()));
        if (click.positive()) {
            g.draw(new Line2D.Double(place.x(), place.y() - arm, place.x(), place.y() + arm));
        }
    }

    private static void paintSpinner(Graphics2D g, double px, Point place, long now) {
        double r = 13 * px;
        double turned = now % TURN_MS * 360.0 / TURN_MS;
        Shape arc = new Arc2D.Double(place.x() - r, place.y() - r, 2 * r, 2 * r, -turned, 250, Arc2D.OPEN);
        g.setStroke(new BasicStroke((float) (5 * px), BasicStroke.CAP_ROUND, BasicStroke.JOIN_ROUND));
        g.setColor(SHADOW);
        g.draw(arc);
        g.setStroke(new BasicStroke((float) (3 * px), BasicStroke.CAP_ROUND, BasicStroke.JOIN_ROUND));
        g.setColor(Color.WHITE);
        g.draw(arc);
    }

    static List<String> wrapped(String text, FontMetrics metrics, int most) {
        List<String> lines = new ArrayList<>();
        for (String paragraph : text.split("\n")) {
            String line = "";
            for (String word : paragraph.split(" ")) {
                String longer = line.isEmpty() ? word : line + " " + word;
                if (!line.isEmpty() && metrics.stringWidth(longer) > most) {
                    lines.add(line);
                    line = word;
                } else {
                    line = longer;
                }
            }
            lines.add(line);
        }
        return lines;
    }
}
