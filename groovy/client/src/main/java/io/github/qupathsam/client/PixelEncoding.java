package io.github.qupathsam.client;

import com.google.protobuf.ByteString;
import io.github.qupathsam.v1.PixelFormat;
import java.awt.Color;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import javax.imageio.ImageIO;

/** Pixels as bytes, without loss: the server must see what QuPath shows. */
final class PixelEncoding {
    private PixelEncoding() {}

    /** Three bytes a pixel, R G B, rows from the top; alpha is laid on white. */
    static ByteString raw(BufferedImage image) {
        BufferedImage opaque = opaque(image);
        int width = opaque.getWidth();
        int height = opaque.getHeight();
        byte[] bytes = new byte[Math.multiplyExact(Math.multiplyExact(width, height), 3)];
        int[] row = new int[width];
        int at = 0;
        for (int y = 0; y < height; y++) {
            opaque.getRGB(0, y, width, 1, row, 0, width);
            for (int rgb : row) {
                bytes[at++] = (byte) (rgb >> 16);
                bytes[at++] = (byte) (rgb >> 8);
                bytes[at++] = (byte) rgb;
            }
        }
        return ByteString.copyFrom(bytes);
    }

    static ByteString png(BufferedImage image) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try {
            if (!ImageIO.write(opaque(image), "png", bytes)) {
                throw new IllegalStateException("this Java cannot write PNG");
            }
        } catch (IOException impossible) {
            throw new UncheckedIOException(impossible);
        }
        return ByteString.copyFrom(bytes.toByteArray());
    }

    /** Raw to this machine, where bytes are cheaper than compressing them; PNG to another. */
    static PixelFormat formatFor(Settings settings) {
        return settings.isLocal() ? PixelFormat.PIXEL_FORMAT_RAW_RGB : PixelFormat.PIXEL_FORMAT_PNG;
    }

    private static BufferedImage opaque(BufferedImage image) {
        if (image.getType() == BufferedImage.TYPE_INT_RGB) {
            return image;
        }
        BufferedImage opaque = new BufferedImage(image.getWidth(), image.getHeight(), BufferedImage.TYPE_INT_RGB);
        Graphics2D graphics = opaque.createGraphics();
        graphics.drawImage(image, 0, 0, Color.WHITE, null);
        graphics.dispose();
        return opaque;
    }
}
