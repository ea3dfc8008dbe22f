package io.github.qupathsam.client;

import java.awt.image.BufferedImage;

/** Reads or renders pixels of an image here, for a server that cannot. */
@FunctionalInterface
public interface PixelSource {
    /**
     * RGB of a region that lies inside the image, {@code region / downsample} px large.
     *
     * @param region level-0 px
     * @param downsample level-0 px per px, at least 1
     */
    BufferedImage read(PixelRegion region, double downsample) throws Exception;
}
