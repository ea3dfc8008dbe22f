package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.qupathsam.client.ClickKeys.Action;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.util.Arrays;
import java.util.List;
import javafx.scene.input.KeyCode;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What mouse and keys mean to the click tool, and what it says. */
class ClickToolTest {
    @ParameterizedTest
    @CsvSource({
        // key, Ctrl, Shift, clicked, message: action
        "ESCAPE,false,false,true,false,DROP",
        "ESCAPE,false,false,false,true,DROP",
        "ESCAPE,false,false,false,false,NONE",
        "ENTER,false,false,true,false,KEEP",
        "ENTER,false,false,false,true,NONE",
        "TAB,false,false,true,false,NEXT_OUTLINE",
        "TAB,true,false,true,false,NONE",
        "TAB,false,false,false,false,NONE",
        "Z,true,false,true,false,UNDO",
        "Z,true,true,true,false,NONE",
        "Z,false,false,true,false,NONE",
        "Z,true,false,false,false,NONE",
        "N,false,false,true,false,KEEP_AND_GO_ON",
        "N,false,false,false,false,NONE",
        "N,true,false,true,false,NONE",
        "A,false,false,true,true,NONE",
    })
    void aKeyDoesOneThing(KeyCode key, boolean shortcut, boolean shift, boolean clicked, boolean message, Action expected) {
        assertEquals(expected, ClickKeys.start().pressed(key, shortcut, shift, clicked, false, message));
    }

    @Test
    void nKeepsOnceHoweverLongItIsHeld() {
        ClickKeys keys = ClickKeys.start();
        assertFalse(keys.isNextDown());
        assertEquals(Action.KEEP_AND_GO_ON, keys.pressed(KeyCode.N, false, false, true, false, false));
        assertTrue(keys.isNextDown());
        assertEquals(Action.HELD, keys.pressed(KeyCode.N, false, false, true, true, false));
        assertEquals(Action.HELD, keys.pressed(KeyCode.N, false, false, false, false, false), "not QuPath's own while it is held");
        keys.released(KeyCode.A);
        assertTrue(keys.isNextDown());
        keys.released(KeyCode.N);
        assertFalse(keys.isNextDown());
        assertEquals(Action.HELD, keys.pressed(KeyCode.N, false, false, true, true, false), "it is being kept already");
    }

    @Test
    void withoutAKeyABoxIsDrawn() {
        Drawing drawn = Drawing.begin(30, 40, false, false);
        assertNull(drawn.box());
        assertNull(drawn.within(100, 100), "a point is no drawing");
        drawn.add(99, 5);
        drawn.add(10, 20);
        drawn.add(150, 20);
        Drawing inside = drawn.within(100, 100);
        assertFalse(inside.isStroke());
        assertEquals(new PixelBox(10, 20, 30, 40), inside.box(), "from the first point in the image to the last one there");
        drawn.add(30, 60);
        assertNull(drawn.within(100, 100).box(), "without an area");
    }

    @Test
    void withShiftAStrokeAddsAndWithAltItTakesAway() {
        assertTrue(Drawing.begin(1, 1, true, false).isPositive());
        for (boolean shift : List.of(false, true)) {
            Drawing away = Drawing.begin(0, 0, shift, true);
            away.add(5, 6);
            away.add(-1, 6);
            assertTrue(away.isStroke());
            assertFalse(away.isPositive());
            assertNull(away.box());
            assertEquals(List.of(Point.of(0, 0), Point.of(5, 6)), away.within(10, 10).points(), "what lies in the image");
            assertNull(away.within(5, 5));
        }
    }

    @Test
    void aDrawingIsSeenFromItsSecondPointOn() {
        for (boolean shift : List.of(false, true)) {
            Drawing drawn = Drawing.begin(5, 5, shift, false);
            int[] nothing = painted(drawn);
            drawn.add(40, 30);
            assertFalse(Arrays.equals(nothing, painted(drawn)));
        }
    }

    private static int[] painted(Drawing drawn) {
        BufferedImage canvas = new BufferedImage(50, 50, BufferedImage.TYPE_INT_ARGB);
        Graphics2D g = canvas.createGraphics();
        drawn.paint(g, 1);
        g.dispose();
        return canvas.getRGB(0, 0, 50, 50, null, 0, 50);
    }

    @Test
    void theIconShowsWhatIsKnownOfTheServer() {
        assertEquals(ToolState.UNKNOWN, ToolState.of(false, false, null));
        assertEquals(ToolState.WORKING, ToolState.of(true, true, LiveSession.State.DISCONNECTED));
        assertEquals(ToolState.STARTING, ToolState.of(false, true, LiveSession.State.DISCONNECTED));
        assertEquals(ToolState.READY, ToolState.of(false, false, LiveSession.State.CONNECTED));
        assertEquals(ToolState.STARTING, ToolState.of(false, false, LiveSession.State.RECONNECTING));
        assertEquals(ToolState.AWAY, ToolState.of(false, false, LiveSession.State.DISCONNECTED));
        assertEquals(1, ToolState.UNKNOWN.tooltip().lines().count());
        assertEquals("The SAM server is ready", ToolState.READY.tooltip().lines().skip(1).findFirst().orElseThrow());
        assertNotEquals(ToolState.READY.colour(), ToolState.AWAY.colour());
    }

    @Test
    void aPersonIsAskedBeforeOutlinesAreLost() {
        assertEquals("", UnkeptOutlines.question(List.of(), 0, List.of()));
        assertEquals(
                "Outlines that are neither kept nor dropped: b, a (2).\nThey are lost when QuPath ends. End it all the same?",
                UnkeptOutlines.question(List.of("b", "a", "a"), 0, List.of()));
        assertEquals(
                "Outlines that you kept and that the server has not answered: 3.\n"
                        + "Outlines that you kept, of images that are closed: c. They are added when you open these.\n"
                        + "They are lost when QuPath ends. End it all the same?",
                UnkeptOutlines.question(List.of(), 3, List.of("c")));
    }
}
