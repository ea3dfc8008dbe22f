package qupath.lib.common;

/** Signatures of QuPath's own class, to compile against: QuPath is in no registry. Not packed into the jar. */
public class Version {
    public static Version parse(String version) {
        throw new UnsupportedOperationException("QuPath brings it");
    }
}
