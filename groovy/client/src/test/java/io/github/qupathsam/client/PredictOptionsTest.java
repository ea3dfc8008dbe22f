package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.qupathsam.v1.ImageRef;
import io.github.qupathsam.v1.PredictRequest;
import io.github.qupathsam.v1.Priority;
import java.math.BigDecimal;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class PredictOptionsTest {
    @Test
    void groovysNumbersAreTaken() {
        PredictOptions options = PredictOptions.of(Map.of("mpp", new BigDecimal("0.5"), "minArea", 20, "choice", "largest"));
        assertEquals(0.5, options.mpp());
        assertEquals(20, options.minArea());
        assertEquals(0.02, options.clean());
        assertEquals(0, PredictOptions.of(Map.of("clean", 0)).clean());
        assertEquals(PredictOptions.Choice.LARGEST, options.choice());
        assertEquals(false, options.keepParts() || options.batch());
        assertEquals(true, PredictOptions.of(Map.of("keepParts", true)).withViewDownsample(2).keepParts());
        assertEquals(true, PredictOptions.of(Map.of("batch", true)).withClip(new byte[0]).batch());
    }

    /** Work on a project waits while a person clicks. */
    @Test
    void aBatchAndPartsAreAskedFor() {
        ImageRef image = ImageRef.getDefaultInstance();
        Settings settings = Settings.load(Map.of(), name -> null, name -> null);
        PredictRequest plain = Messages.predict(image, List.of(), PredictOptions.none(), settings);
        assertEquals(Priority.PRIORITY_INTERACTIVE, plain.getPriority());
        assertEquals(false, plain.getOutput().getKeepParts());
        assertEquals(false, plain.getWindow().getPreferEmbedded());
        PredictOptions preferring = PredictOptions.of(Map.of("downsample", 2)).preferringEmbedded().withViewDownsample(3);
        PredictRequest click = Messages.predict(image, List.of(), preferring, settings);
        assertEquals(true, click.getWindow().getPreferEmbedded());
        assertEquals(2, click.getWindow().getDownsample());
        PredictOptions options = PredictOptions.of(Map.of("batch", true, "keepParts", true));
        PredictRequest batch = Messages.predict(image, List.of(), options, settings);
        assertEquals(Priority.PRIORITY_BATCH, batch.getPriority());
        assertEquals(true, batch.getOutput().getKeepParts());
    }

    @Test
    void nonsenseIsNamed() {
        for (Map<String, ?> wrong : java.util.List.of(
                Map.of("minarea", 1),
                Map.of("minArea", -1),
                Map.of("minArea", "big"),
                Map.of("choice", "worst"),
                Map.of("clean", 1.5),
                Map.of("batch", 1),
                Map.of("mpp", 1, "downsample", 2))) {
            SamException failure = assertThrows(SamException.class, () -> PredictOptions.of(wrong), wrong.toString());
            assertEquals(FailureReason.INVALID_REQUEST, failure.reason());
        }
        SamException unknown = assertThrows(SamException.class, () -> PredictOptions.of(Map.of("minarea", 1)));
        assertTrue(unknown.getMessage().contains("minArea"), unknown.getMessage());
    }
}
