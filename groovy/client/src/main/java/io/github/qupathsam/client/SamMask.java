package io.github.qupathsam.client;

/**
 * One outline.
 *
 * @param wkb Polygon or MultiPolygon, level-0 px, as little-endian WKB; JTS's WKBReader reads it
 * @param score the model's own estimate of the IoU with what was meant, 0 to 1
 * @param areaPx2 level-0 px2
 * @param areaUm2 um2; NaN where the image has no pixel size
 * @param index which of the step's masks it is, for {@link Click#from}
 * @param window that the model saw it in, level-0 px, where that is another than the result's; else null
 * @param downsample level-0 px per px of that window; 0 without one
 */
public record SamMask(
        byte[] wkb, double score, double areaPx2, double areaUm2, int index, PixelRegion window, double downsample) {

    /** One that the model saw in the result's window. */
    public SamMask(byte[] wkb, double score, double areaPx2, double areaUm2, int index) {
        this(wkb, score, areaPx2, areaUm2, index, null, 0);
    }

    /** The same in another outline. */
    SamMask outlined(byte[] newWkb, double newAreaPx2, double newAreaUm2) {
        return new SamMask(newWkb, score, newAreaPx2, newAreaUm2, index, window, downsample);
    }
}
