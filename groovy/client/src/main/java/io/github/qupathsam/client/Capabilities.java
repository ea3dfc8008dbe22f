package io.github.qupathsam.client;

/** What a server is and allows; sizes in bytes and px. */
public record Capabilities(
        String serverVersion,
        int protocolVersion,
        String defaultModel,
        String device,
        long maxMessageBytes,
        int maxObjects,
        long maxPushedPixels,
        boolean readsSlides) {}
