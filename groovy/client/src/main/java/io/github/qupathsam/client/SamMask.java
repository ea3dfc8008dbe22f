package io.github.qupathsam.client;

/**
 * One outline.
 *
 * @param wkb Polygon or MultiPolygon, level-0 px, as little-endian WKB; JTS's WKBReader reads it
 * @param score the model's own estimate of the IoU with what was meant, 0 to 1
 * @param areaPx2 level-0 px2
 * @param areaUm2 um2; NaN where the image has no pixel size
 * @param index which of the step's masks it is, for {@link Click#from}
 */
public record SamMask(byte[] wkb, double score, double areaPx2, double areaUm2, int index) {}
