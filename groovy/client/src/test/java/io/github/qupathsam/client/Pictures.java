package io.github.qupathsam.client;

import java.awt.Color;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicInteger;
import javax.imageio.ImageIO;

/** A drawn picture: as a file that the server reads, and as pixels that the client pushes. */
final class Pictures {
    static final int WIDTH = 900;
    static final int HEIGHT = 700;

    private Pictures() {}

    static BufferedImage picture() {
        BufferedImage picture = new BufferedImage(WIDTH, HEIGHT, BufferedImage.TYPE_INT_RGB);
        Graphics2D graphics = picture.createGraphics();
        graphics.setColor(new Color(240, 225, 235));
        graphics.fillRect(0, 0, WIDTH, HEIGHT);
        graphics.setColor(new Color(90, 40, 120));
        graphics.fillOval(300, 200, 160, 120);
        graphics.fillOval(600, 420, 90, 90);
        graphics.dispose();
        return picture;
    }

    /** A PNG in a folder whose name has what Windows paths have. */
    static Path file(Path folder) throws IOException {
        Path file = folder.resolve("schöne Bilder").resolve("slide 1.png");
        file.getParent().toFile().mkdirs();
        ImageIO.write(picture(), "png", file.toFile());
        return file;
    }

    static SamImage onDisk(Path folder) throws IOException {
        return SamImage.ofPath(file(folder), WIDTH, HEIGHT);
    }

    /** Counts its reads. */
    static SamImage pushable(SamImage image, AtomicInteger reads) {
        BufferedImage picture = picture();
        return image.pixels("QuPath rendered RGB", (region, downsample) -> {
            reads.incrementAndGet();
            return picture.getSubimage(region.x(), region.y(), region.width(), region.height());
        });
    }
}
