package io.github.qupathsam.client;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What made a result: enough to make it again. */
public record Provenance(
        String model,
        String weightsSha256,
        String preprocessingVersion,
        String serverVersion,
        String imageFingerprint,
        String pixelSource,
        String device,
        double mpp,
        List<String> remarks) {

    /** As key and value for the metadata of an annotation; what is unknown is left out. */
    public Map<String, String> metadata() {
        Map<String, String> metadata = new LinkedHashMap<>();
        put(metadata, "SAM model", model);
        put(metadata, "SAM weights", weightsSha256.length() > 16 ? weightsSha256.substring(0, 16) : weightsSha256);
        put(metadata, "SAM preprocessing", preprocessingVersion);
        put(metadata, "SAM server", serverVersion);
        put(metadata, "SAM image", imageFingerprint.length() > 16 ? imageFingerprint.substring(0, 16) : imageFingerprint);
        put(metadata, "SAM pixels", pixelSource);
        return metadata;
    }

    private static void put(Map<String, String> metadata, String key, String value) {
        if (!value.isEmpty()) {
            metadata.put(key, value);
        }
    }
}
