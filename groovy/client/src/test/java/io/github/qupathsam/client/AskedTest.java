package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;

class AskedTest {
    /** Two of them are two images, also where they are of the same file. */
    private static final class Image {
        final String entry;

        Image(String entry) {
            this.entry = entry;
        }
    }

    private record Shape(int id, String outline) {}

    private final Image slide = new Image("slide");
    private final Image other = new Image("other");

    private static Image written(Asked<Image> asked, List<Image> open) {
        return asked.image(open, image -> image.entry, image -> image.entry + ".svs");
    }

    @Test
    void theAnswerGoesToTheImageThatWasAskedAbout() {
        Asked<Image> asked = Asked.about(slide, List.of(slide, other), false, Map.of());
        assertSame(slide, written(asked, List.of(other, slide)));
    }

    @Test
    void anImageThatHasBeenOpenedAgainGetsTheAnswer() {
        Asked<Image> asked = Asked.about(slide, List.of(slide), false, Map.of());
        Image again = new Image("slide");
        assertSame(again, written(asked, List.of(other, again)));
    }

    @Test
    void anImageThatIsClosedIsNamedAndNothingIsWrittenToAnother() {
        Asked<Image> asked = Asked.about(slide, List.of(slide), false, Map.of());
        IllegalStateException closed = assertThrows(IllegalStateException.class, () -> written(asked, List.of(other)));
        assertTrue(closed.getMessage().contains("slide.svs"), closed.getMessage());
        assertTrue(closed.getMessage().endsWith("Open it, and run the same again."), closed.getMessage());
    }

    @Test
    void imagesWithoutANameOfTheirOwnAreNotTheSame() {
        Image unnamed = new Image(null);
        Asked<Image> asked = Asked.about(unnamed, List.of(unnamed), false, Map.of());
        assertThrows(IllegalStateException.class, () -> written(asked, List.of(new Image(null))));
    }

    /** QuPath's "Run for project" opens images that no viewer shows, and saves them. */
    @Test
    void anImageThatNoViewerShowedIsWrittenTo() {
        Asked<Image> asked = Asked.about(slide, List.of(other), true, Map.of());
        assertSame(slide, written(asked, List.of(other)));
    }

    /** It counted as one of a run over a project: its answer was written where nobody sees or saves it. */
    @Test
    void anImageThatWasLeftBeforeTheScriptBeganIsNamed() {
        Asked<Image> asked = Asked.about(slide, List.of(other), false, Map.of());
        assertTrue(asked.wasOpen());
        assertThrows(IllegalStateException.class, () -> written(asked, List.of(other)));
        Image again = new Image("slide");
        assertSame(again, written(asked, List.of(again)));
    }

    /** It is written to in the window, which shows it. */
    @Test
    void anImageOfARunThatAViewerShowsIsOpen() {
        assertTrue(Asked.about(slide, List.of(slide), true, Map.of()).wasOpen());
    }

    @Test
    void onlyWhatIsAsItWasIsFoundAndByItsId() {
        Asked<Image> asked = Asked.about(slide, List.of(slide), false, Map.of(1, "a", 2, "b", 3, "c"));
        Shape copy = new Shape(1, "a");
        List<Shape> now = List.of(copy, new Shape(2, "edited"), new Shape(4, "d"));
        Map<Object, Shape> same = asked.asTheyWere(now, Shape::id, Shape::outline);
        assertEquals(Set.of(1), same.keySet());
        assertSame(copy, same.get(1));
    }
}
