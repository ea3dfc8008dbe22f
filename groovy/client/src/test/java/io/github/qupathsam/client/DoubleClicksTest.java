package io.github.qupathsam.client;

import static io.github.qupathsam.client.DoubleClicks.Kind.DOUBLE;
import static io.github.qupathsam.client.DoubleClicks.Kind.REPEATED;
import static io.github.qupathsam.client.DoubleClicks.Kind.SINGLE;
import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

class DoubleClicksTest {
    private final DoubleClicks clicks = new DoubleClicks();

    /** On 0.1.0 the second of 20 clicks along a thin structure kept the outline. */
    @Test
    void clicksThreePixelsApartAreClicks() {
        for (int i = 0; i < 20; i++) {
            assertEquals(SINGLE, clicks.next(500 + 3 * i, 300, 1000 + 60 * i));
        }
    }

    @Test
    void twoAtOnePlaceAreADoubleClick() {
        assertEquals(SINGLE, clicks.next(500, 300, 1000));
        assertEquals(DOUBLE, clicks.next(501, 299, 1200));
        assertEquals(REPEATED, clicks.next(500, 300, 1400));
        assertEquals(SINGLE, clicks.next(500, 300, 2000));
    }

    @Test
    void slowOnesAreNot() {
        assertEquals(SINGLE, clicks.next(500, 300, 1000));
        assertEquals(SINGLE, clicks.next(500, 300, 1001 + DoubleClicks.WITHIN_MS));
    }

    @Test
    void aHandThatDriftsDoesNotDoubleClickForEver() {
        assertEquals(SINGLE, clicks.next(500, 300, 1000));
        assertEquals(DOUBLE, clicks.next(502, 300, 1100));
        assertEquals(SINGLE, clicks.next(504, 300, 1200), "places are compared with the first click's");
    }
}
