package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ShapeMeasurementsTest {
    @ParameterizedTest
    @ValueSource(
            strings = {
                "Area µm^2", "Length µm", "Circularity", "Solidity", "Max diameter µm", "Min diameter µm", "Perimeter px",
                "Nucleus: Area µm^2", "Cell: Solidity", "Nucleus/Cell area ratio", "Centroid X µm",
                "ROI: 2.00 µm per pixel: Red: Mean"
            })
    void namesOfShape(String name) {
        assertTrue(ShapeMeasurements.isOne(name), name);
    }

    @ParameterizedTest
    @ValueSource(strings = {"Area of interest", "Num Detections", "Nucleus: Hematoxylin OD mean", "SAM score", "Length of stay", ""})
    void otherNames(String name) {
        assertFalse(ShapeMeasurements.isOne(name), name);
    }

    @Test
    void whatIsKeptKeepsItsOrder() {
        Map<String, Double> all = new LinkedHashMap<>();
        all.put("b", 1.0);
        all.put("Area µm^2", 2.0);
        all.put("a", Double.NaN);
        assertEquals(List.of("b", "a"), List.copyOf(ShapeMeasurements.kept(all).keySet()));
    }
}
