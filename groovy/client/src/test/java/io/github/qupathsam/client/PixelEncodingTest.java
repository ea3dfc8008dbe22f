package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.qupathsam.v1.PixelFormat;
import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.util.Map;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;

class PixelEncodingTest {
    private static BufferedImage twoPixels(int type) {
        BufferedImage image = new BufferedImage(2, 1, type);
        image.setRGB(0, 0, 0xff102030);
        image.setRGB(1, 0, 0xffa0b0c0);
        return image;
    }

    @Test
    void rawIsRedGreenBlue() {
        byte[] expected = {0x10, 0x20, 0x30, (byte) 0xa0, (byte) 0xb0, (byte) 0xc0};
        assertArrayEquals(expected, PixelEncoding.raw(twoPixels(BufferedImage.TYPE_INT_RGB)).toByteArray());
        assertArrayEquals(expected, PixelEncoding.raw(twoPixels(BufferedImage.TYPE_3BYTE_BGR)).toByteArray());
    }

    @Test
    void alphaIsLaidOnWhite() {
        BufferedImage clear = new BufferedImage(1, 1, BufferedImage.TYPE_INT_ARGB);
        assertArrayEquals(new byte[] {-1, -1, -1}, PixelEncoding.raw(clear).toByteArray());
    }

    @Test
    void pngLosesNothing() throws Exception {
        byte[] png = PixelEncoding.png(twoPixels(BufferedImage.TYPE_INT_RGB)).toByteArray();
        BufferedImage back = ImageIO.read(new ByteArrayInputStream(png));
        assertEquals(0xff102030, back.getRGB(0, 0));
        assertEquals(0xffa0b0c0, back.getRGB(1, 0));
    }

    @Test
    void onlyThisMachineGetsRawBytes() {
        assertEquals(PixelFormat.PIXEL_FORMAT_RAW_RGB, PixelEncoding.formatFor(Settings.load(Map.of("host", "localhost"))));
        assertEquals(PixelFormat.PIXEL_FORMAT_PNG, PixelEncoding.formatFor(Settings.load(Map.of("host", "gpu1"))));
    }
}
