package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class KeptOutlineTest {
    private static final Provenance MADE = new Provenance("fake", "", "fake-1", "0.2", "image", "pixels", "cpu", 0.5, List.of());
    private static final SamMask BEST = new SamMask(new byte[0], 0.9, 100, 25, 0);
    private static final SamMask ELSEWHERE = new SamMask(new byte[0], 0.6, 900, 225, 1, new PixelRegion(0, 0, 1024, 1024), 4);

    private static Map<String, String> metadata(int choice) {
        SamResult result = new SamResult(
                "", List.of(BEST, ELSEWHERE), new PixelRegion(256, 256, 256, 256), 1, true, new byte[0], 0, "", List.of(), null, false);
        List<Click> clicks = List.of(Click.at(300, 300, true));
        return new KeptOutline(result, choice, result.masks().get(choice), 0, MADE, null, null, clicks, 1).metadata();
    }

    /** A first click's outlines may lie in several windows: the metadata are to make the kept one again. */
    @Test
    void theWindowIsThatOfTheOutlineThatIsKept() {
        assertEquals("256,256,256,256", metadata(0).get("qupath-sam.window"));
        assertEquals("1", metadata(0).get("qupath-sam.downsample"));
        assertEquals("true", metadata(0).get("qupath-sam.touches_edge"));
        assertEquals("0,0,1024,1024", metadata(1).get("qupath-sam.window"));
        assertEquals("4", metadata(1).get("qupath-sam.downsample"));
        assertEquals("false", metadata(1).get("qupath-sam.touches_edge"));
        assertEquals("2 of 2", metadata(1).get("qupath-sam.choice"));
    }
}
