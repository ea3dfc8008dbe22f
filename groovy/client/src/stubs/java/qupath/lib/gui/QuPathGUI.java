package qupath.lib.gui;

import java.awt.image.BufferedImage;
import javafx.scene.control.MenuItem;
import qupath.lib.images.ImageData;

/** Signatures of QuPath's own class, alike in 0.5.1, 0.6.0 and 0.7.0, to compile against. Not packed into the jar. */
public class QuPathGUI {
    public MenuItem installCommand(String menuPath, Runnable runnable) {
        throw new UnsupportedOperationException("QuPath brings it");
    }

    public ImageData<BufferedImage> getImageData() {
        throw new UnsupportedOperationException("QuPath brings it");
    }
}
