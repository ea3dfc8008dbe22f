package qupath.lib.images;

/** Signature of QuPath's own class, alike in 0.5.1, 0.6.0 and 0.7.0, to compile against. Not packed into the jar. */
public class ImageData<T> {}
