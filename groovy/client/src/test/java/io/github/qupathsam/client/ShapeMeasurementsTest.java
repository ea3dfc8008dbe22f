package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ShapeMeasurementsTest {
    @ParameterizedTest
    @ValueSource(
            strings = {
                "Area µm^2", "Length µm", "Circularity", "Solidity", "Max diameter µm", "Min diameter µm", "Perimeter px",
                "Nucleus: Area µm^2", "Cell: Solidity", "Nucleus/Cell area ratio", "Centroid X µm",
                "ROI: 2.00 µm per pixel: Red: Mean", "Square: Diameter 25.0 µm: 2.00 µm per pixel: Red: Mean",
                "Tumor area µm^2", "my classifier: Total annotated area mm^2", "SAM score",
                "SAM IoU with old outline"
            })
    void namesOfShape(String name) {
        assertTrue(ShapeMeasurements.isOne(name, Set.of()), name);
    }

    @ParameterizedTest
    @ValueSource(strings = {"Area of interest", "Num Detections", "Nucleus: Hematoxylin OD mean", "Length of stay", "Tumor %", ""})
    void otherNames(String name) {
        assertFalse(ShapeMeasurements.isOne(name, Set.of()), name);
    }

    @Test
    void sharesThatAPixelClassifierHasFound() {
        Map<String, Double> all = new LinkedHashMap<>();
        List.of("c: Tumor %", "c: Tumor area mm^2", "Tumor %", "Stroma %", "Stroma area px^2", "%", "by eye %")
                .forEach(name -> all.put(name, 1.0));
        assertEquals(List.of("Tumor %", "%", "by eye %"), List.copyOf(ShapeMeasurements.kept(all).keySet()));
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
