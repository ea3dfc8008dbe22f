package io.github.qupathsam.client;

/** A window of which the server has the embedding (ready) or will have it; level-0 px. */
public record EmbeddedWindow(PixelRegion region, double downsample, boolean ready) {}
