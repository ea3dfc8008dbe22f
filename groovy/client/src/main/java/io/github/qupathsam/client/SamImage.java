package io.github.qupathsam.client;

import com.google.protobuf.ByteString;
import io.github.qupathsam.v1.ImageRef;
import io.github.qupathsam.v1.PushedRef;
import io.github.qupathsam.v1.SlideRef;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Objects;

/**
 * One plane of an image, as the server gets it.
 *
 * <p>First by QuPath's server builder (or a path): the server then reads the slide itself. Once the server has said that it cannot,
 * or after {@link #alwaysPush()}, by pixels that are pushed to it. Safe to use from several threads.
 */
public final class SamImage {
    /** Digests that are remembered; the server drops old pixels anyway. */
    private static final int MAX_HELD = 16;

    private final SlideRef slide;
    private final PixelSource pixels;
    private final String rendering;
    private final Deque<Held> held = new ArrayDeque<>();
    private volatile boolean pushing;

    /** Pixels that the server held when last heard of. */
    record Held(PushPlan plan, ByteString digest) {}

    private SamImage(SlideRef slide, PixelSource pixels, String rendering, boolean pushing) {
        this.slide = slide;
        this.pixels = pixels;
        this.rendering = rendering;
        this.pushing = pushing;
    }

    /**
     * An image of QuPath.
     *
     * @param serverBuilderJson {@code GsonTools.getInstance().toJson(server.getBuilder(), ServerBuilder)}
     * @param width of level 0, as QuPath shows it
     * @param height of level 0
     */
    public static SamImage ofBuilder(String serverBuilderJson, int width, int height) {
        return new SamImage(sized(width, height).setServerBuilderJson(serverBuilderJson).build(), null, "", false);
    }

    /** A slide by its path. */
    public static SamImage ofPath(Path path, int width, int height) {
        return new SamImage(sized(width, height).setPath(path.toString()).build(), null, "", false);
    }

    public SamImage plane(int z, int t) {
        return new SamImage(slide.toBuilder().setZ(z).setT(t).build(), pixels, rendering, pushing);
    }

    /** um per level-0 px; 0 or NaN where unknown. */
    public SamImage pixelSize(double mpp) {
        double known = mpp > 0 && Double.isFinite(mpp) ? mpp : 0;
        return new SamImage(slide.toBuilder().setMpp(known).build(), pixels, rendering, pushing);
    }

    /**
     * Where pixels come from when the server cannot read the slide.
     *
     * @param how for the provenance: "QuPath rendered RGB"
     */
    public SamImage pixels(String how, PixelSource source) {
        return new SamImage(slide, Objects.requireNonNull(source), how, pushing);
    }

    /** Never lets the server read the slide: what a person sees is not what the file holds. */
    public SamImage alwaysPush() {
        if (pixels == null) {
            throw new IllegalStateException("an image without pixels(...) cannot push any; set them first");
        }
        return new SamImage(slide, pixels, rendering, true);
    }

    public int width() {
        return slide.getWidth();
    }

    public int height() {
        return slide.getHeight();
    }

    /** Whether calls go by pushed pixels now. */
    public boolean isPushing() {
        return pushing;
    }

    boolean canPush() {
        return pixels != null;
    }

    void startPushing() {
        pushing = true;
    }

    ImageRef slideRef() {
        return ImageRef.newBuilder().setSlide(slide).build();
    }

    static ImageRef pushedRef(Held part) {
        return ImageRef.newBuilder()
                .setPushed(PushedRef.newBuilder().setDigest(part.digest()))
                .build();
    }

    SlideRef slide() {
        return slide;
    }

    PixelSource pixels() {
        return pixels;
    }

    String rendering() {
        return rendering;
    }

    /** What the server holds at this scale with room round the bounds, or null. */
    synchronized Held heldFor(Bounds bounds, double margin, double downsample) {
        Bounds image = new Bounds(0, 0, width(), height());
        Bounds inside = bounds.grown(margin).within(image);
        for (Held part : held) {
            if (part.plan().downsample() == downsample && part.plan().region().encloses(inside)) {
                return part;
            }
        }
        return null;
    }

    synchronized void remember(Held part) {
        held.removeIf(known -> known.digest().equals(part.digest()));
        held.addFirst(part);
        while (held.size() > MAX_HELD) {
            held.removeLast();
        }
    }

    /** After PIXELS_MISSING: the server has dropped pixels, most likely all (a restart). */
    synchronized void forgetHeld() {
        held.clear();
    }

    private static SlideRef.Builder sized(int width, int height) {
        if (width < 1 || height < 1) {
            throw new IllegalArgumentException("an image needs a width and height, got " + width + " x " + height);
        }
        return SlideRef.newBuilder().setWidth(width).setHeight(height);
    }
}
