package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Random;
import org.junit.jupiter.api.Test;

class PushPlanTest {
    private static final int SIZE = 50_000;

    @Test
    void neighbouringClicksPushTheSamePixels() {
        PushPlan first = PushPlan.around(Bounds.of(new Point(20_100, 20_100)), 1, SIZE, SIZE);
        assertEquals(first, PushPlan.around(Bounds.of(new Point(20_180, 20_050)), 1, SIZE, SIZE));
    }

    @Test
    void theScaleFollowsTheViewAndTheObject() {
        assertEquals(1, PushPlan.around(Bounds.of(new Point(900, 900)), 1, SIZE, SIZE).downsample());
        assertEquals(4, PushPlan.around(Bounds.of(new Point(900, 900)), 10, SIZE, SIZE).downsample());
        assertEquals(8, PushPlan.around(new Bounds(1000, 1000, 7000, 5000), 0, SIZE, SIZE).downsample());
    }

    @Test
    void anImageSmallerThanThePlanIsPushedWhole() {
        PushPlan plan = PushPlan.around(Bounds.of(new Point(10, 10)), 1, 300, 200);
        assertEquals(new PixelRegion(0, 0, 300, 200), plan.region());
    }

    @Test
    void whateverIsSegmentedLiesInsideWhatIsPushed() {
        Random random = new Random(4);
        for (int i = 0; i < 2000; i++) {
            int width = 1 + random.nextInt(60_000);
            int height = 1 + random.nextInt(60_000);
            double x = random.nextDouble() * width;
            double y = random.nextDouble() * height;
            Bounds bounds = new Bounds(x, y, x + random.nextDouble() * (width - x), y + random.nextDouble() * (height - y));
            PushPlan plan = PushPlan.around(bounds, random.nextInt(3) * random.nextDouble() * 20, width, height);
            PixelRegion region = plan.region();
            assertTrue(region.encloses(bounds), bounds + " in " + plan);
            assertTrue(region.x() >= 0 && region.y() >= 0 && region.right() <= width && region.bottom() <= height);
            assertTrue(region.width() / plan.downsample() * region.height() / plan.downsample() <= 2048 * 2048 + 1);
        }
    }

    @Test
    void onlyEdgesInsideTheImageCutAnObject() {
        PushPlan plan = PushPlan.around(Bounds.of(new Point(100, 25_000)), 1, SIZE, SIZE);
        PixelRegion region = plan.region();
        assertFalse(plan.cuts(new Bounds(0, 25_000, 200, 25_100), SIZE, SIZE));
        assertTrue(plan.cuts(new Bounds(100, region.y(), 200, 25_100), SIZE, SIZE));
        assertTrue(plan.coarser(SIZE, SIZE).region().height() == 2 * region.height());
    }
}
