package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.awt.Color;
import java.awt.FontMetrics;
import java.awt.Graphics2D;
import java.awt.geom.AffineTransform;
import java.awt.image.BufferedImage;
import java.util.List;
import org.junit.jupiter.api.Test;

class ClickPainterTest {
    private static final int WHITE = Color.WHITE.getRGB();
    private static final byte[] RING =
            PromptsTest.wkb("POLYGON ((20 20, 180 20, 180 180, 20 180, 20 20), (80 80, 120 80, 120 120, 80 120, 80 80))");

    private static SamMask mask() {
        return new SamMask(RING, 0.9, 24000, Double.NaN, 0);
    }

    /** 200 x 200 screen px, white, at this many level-0 px per screen px. */
    private static BufferedImage painted(ClickView view, double px) {
        BufferedImage image = new BufferedImage(200, 200, BufferedImage.TYPE_INT_RGB);
        Graphics2D g = image.createGraphics();
        g.setColor(Color.WHITE);
        g.fillRect(0, 0, 200, 200);
        g.scale(1 / px, 1 / px);
        AffineTransform before = g.getTransform();
        ClickPainter.paint(g, px, view, view.outline(), Color.BLUE, 0.2);
        assertEquals(before, g.getTransform());
        g.dispose();
        return image;
    }

    private static int different(BufferedImage image, int x, int y, int size) {
        int count = 0;
        for (int row = y; row < y + size; row++) {
            for (int column = x; column < x + size; column++) {
                count += image.getRGB(column, row) == WHITE ? 0 : 1;
            }
        }
        return count;
    }

    @Test
    void theOutlineIsTintedAndItsHoleIsNot() {
        BufferedImage image = painted(new ClickView(null, List.of(), mask(), 0, 1, 0, List.of(), false, ""), 1);
        assertNotEquals(WHITE, image.getRGB(50, 50));
        assertEquals(WHITE, image.getRGB(100, 100));
        assertEquals(WHITE, image.getRGB(10, 10));
    }

    /** On 0.1.0 an outline that the model doubts looked like any other. */
    @Test
    void anOutlineThatTheModelDoubtsIsPale() {
        ClickView sure = new ClickView(null, List.of(), mask(), 0, 1, 0, List.of(), false, "");
        ClickView doubted = new ClickView(null, List.of(), mask(), 0, 1, 0, List.of(Doubt.LOW_SCORE), false, "");
        for (int x : new int[] {50, 20}) { // inside, and on the line
            Color clear = new Color(painted(sure, 1).getRGB(x, 50));
            Color pale = new Color(painted(doubted, 1).getRGB(x, 50));
            assertTrue(pale.getRed() > clear.getRed() && pale.getRed() < 255, pale + " against " + clear);
        }
        assertEquals("0.90, 24000 px\u00b2", sure.label());
        assertEquals("0.90, 24000 px\u00b2; the model is not sure", doubted.label());
    }

    @Test
    void clicksAreOfOneSizeAtEveryZoomAndOfTwoColours() {
        Click in = Click.at(50, 100, true);
        Click out = Click.at(150, 100, false);
        BufferedImage near = painted(new ClickView(null, List.of(in, out), null, 0, 0, 0, List.of(), false, ""), 1);
        BufferedImage far = painted(
                new ClickView(null, List.of(Click.at(500, 1000, true), Click.at(1500, 1000, false)), null, 0, 0, 0, List.of(), false, ""), 10);
        assertEquals(different(near, 0, 0, 200), different(far, 0, 0, 200), 8);
        assertTrue(new Color(near.getRGB(54, 96)).getGreen() > new Color(near.getRGB(54, 96)).getRed());
        assertTrue(new Color(near.getRGB(154, 96)).getRed() > new Color(near.getRGB(154, 96)).getGreen());
    }

    @Test
    void workIsShownRoundTheLastClick() {
        List<Click> clicks = List.of(Click.at(40, 40, true), Click.at(140, 140, true));
        int idle = different(painted(new ClickView(null, clicks, null, 0, 0, 0, List.of(), false, ""), 1), 110, 110, 60);
        int working = different(painted(new ClickView(null, clicks, null, 0, 0, 0, List.of(), true, ""), 1), 110, 110, 60);
        assertTrue(working > idle + 50, working + " px against " + idle);
    }

    @Test
    void textIsBrokenBetweenWordsAndAtLineEnds() {
        BufferedImage image = new BufferedImage(500, 100, BufferedImage.TYPE_INT_RGB);
        Graphics2D g = image.createGraphics();
        FontMetrics metrics = g.getFontMetrics();
        List<String> lines = ClickPainter.wrapped("no server answers at\n127.0.0.1:50051 now", metrics, metrics.stringWidth("no server answers"));
        assertEquals(List.of("no server answers", "at", "127.0.0.1:50051", "now"), lines);
        assertEquals(List.of("unbreakable"), ClickPainter.wrapped("unbreakable", metrics, 1));
        ClickPainter.paintText(g, "no server answers", 0, 0);
        assertNotEquals(Color.BLACK.getRGB(), image.getRGB(8, 8));
        g.dispose();
    }

    @Test
    void aTextBesideThePointerStaysInTheView() {
        for (int[] pointer : new int[][] {{10, 10}, {490, 10}, {10, 90}, {490, 90}}) {
            BufferedImage image = new BufferedImage(500, 100, BufferedImage.TYPE_INT_RGB);
            Graphics2D g = image.createGraphics();
            ClickPainter.paintBeside(g, "0.91, 312", pointer[0], pointer[1], 500, 100);
            g.dispose();
            int left = pointer[0] == 10 ? 28 : 472 - 60;
            int top = pointer[1] == 10 ? 28 : 72 - 30;
            assertNotEquals(Color.BLACK.getRGB(), image.getRGB(left + 10, top + 15), pointer[0] + ", " + pointer[1]);
            assertEquals(Color.BLACK.getRGB(), image.getRGB(pointer[0], pointer[1]), "the clicked place is covered");
        }
    }
}
