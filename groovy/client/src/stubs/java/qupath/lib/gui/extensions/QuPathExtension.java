package qupath.lib.gui.extensions;

import qupath.lib.common.Version;
import qupath.lib.gui.QuPathGUI;

/** Signatures of QuPath's own interface, to compile against. Not packed into the jar. */
public interface QuPathExtension {
    void installExtension(QuPathGUI qupath);

    String getName();

    String getDescription();

    default Version getQuPathVersion() {
        throw new UnsupportedOperationException("QuPath brings it");
    }

    default Version getVersion() {
        throw new UnsupportedOperationException("QuPath brings it");
    }
}
