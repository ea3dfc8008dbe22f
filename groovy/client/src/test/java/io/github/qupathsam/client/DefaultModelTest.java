package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.locationtech.jts.geom.Geometry;
import org.locationtech.jts.geom.GeometryFactory;
import org.locationtech.jts.geom.Coordinate;
import org.locationtech.jts.util.GeometricShapeFactory;

/** The whole way with the model that people get. */
class DefaultModelTest {
    @Test
    void aBoxFindsWhatIsInIt(@TempDir Path folder) throws Exception {
        try (RealServer server = RealServer.startWith("", 0);
                SamClient client = server.client();
                LiveSession live = client.live()) {
            assertFalse(client.capabilities().defaultModel().equals("fake"));
            SamImage image = Pictures.onDisk(folder);
            Prompts prompts = Prompts.box(292, 192, 468, 328);
            SamPrediction answer = client.predict(image, prompts, PredictOptions.none());
            assertEquals(client.capabilities().defaultModel(), answer.provenance().model());
            assertEquals(64, answer.provenance().weightsSha256().length());
            Geometry found = SamClientTest.geometry(answer.single().best());
            Geometry drawn = ellipse();
            double overlap = found.intersection(drawn).getArea() / found.union(drawn).getArea();
            assertTrue(overlap > 0.7, "IoU with what is drawn: " + overlap);
            SamPrediction again = live.predict(image, prompts, PredictOptions.none(), "click").get(120, TimeUnit.SECONDS);
            assertArrayEquals(answer.single().best().wkb(), again.single().best().wkb());
        }
    }

    private static Geometry ellipse() {
        GeometricShapeFactory shape = new GeometricShapeFactory(new GeometryFactory());
        shape.setBase(new Coordinate(300, 200));
        shape.setWidth(160);
        shape.setHeight(120);
        return shape.createEllipse();
    }
}
