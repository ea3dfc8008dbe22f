package io.github.qupathsam.client;

import java.util.List;

/**
 * The answer to a call.
 *
 * @param results one per object, in order
 * @param provenance what made them
 * @param totalMs milliseconds that the server spent
 * @param encodeMs of which in the image encoder
 */
public record SamPrediction(List<SamResult> results, Provenance provenance, double totalMs, double encodeMs) {
    /** The answer to the only object of a call. */
    public SamResult single() {
        return results.get(0);
    }
}
