package io.github.qupathsam.client;

import com.google.protobuf.ByteString;
import io.github.qupathsam.v1.PixelFormat;
import io.github.qupathsam.v1.PushPixelsRequest;
import io.github.qupathsam.v1.PushPixelsResponse;
import java.awt.image.BufferedImage;

/** Sends the pixels round some prompts, unless the server has them. */
final class PixelPusher {
    /** Most doublings of the pushed region for an object that runs into its edge. */
    private static final int MAX_GROWTH = 2;

    private final Connection connection;

    PixelPusher(Connection connection) {
        this.connection = connection;
    }

    /**
     * Pixels that the server holds for prompts within {@code bounds}.
     *
     * @param coarser how often to double the region, for objects that have run into its edge
     * @throws SamException where they cannot be read here or are not taken there
     */
    SamImage.Held held(SamImage image, Bounds bounds, double viewDownsample, int coarser) {
        PushPlan plan = PushPlan.around(bounds, viewDownsample, image.width(), image.height());
        for (int step = 0; step < coarser; step++) {
            plan = plan.coarser(image.width(), image.height());
        }
        double margin = PushPlan.margin(bounds, viewDownsample);
        SamImage.Held known = image.heldFor(bounds, margin, plan.downsample());
        if (known != null) {
            return known;
        }
        PushPixelsResponse answer = push(request(image, plan));
        SamImage.Held held = new SamImage.Held(plan, answer.getDigest());
        image.remember(held);
        return held;
    }

    /**
     * All pixels of a region, which the server holds then.
     *
     * @param downsample at most; a power of two below it is pushed
     * @throws SamException TOO_LARGE where they are more than the server takes
     */
    SamImage.Held whole(SamImage image, Bounds bounds, double downsample) {
        PushPlan plan = PushPlan.whole(bounds, downsample, image.width(), image.height());
        SamImage.Held known = image.heldFor(bounds, 0, plan.downsample());
        if (known != null) {
            return known;
        }
        long pixels = (long) (plan.region().width() / plan.downsample() * (plan.region().height() / plan.downsample()));
        long most = connection.capabilities().maxPushedPixels();
        if (most > 0 && pixels > most) {
            throw new SamException(
                    FailureReason.TOO_LARGE,
                    "the server cannot read this image, and the region has " + pixels + " pixels of the " + most
                            + " that can be sent; select a smaller region, or start the server where it reads the slide");
        }
        SamImage.Held held = new SamImage.Held(plan, push(request(image, plan)).getDigest());
        image.remember(held);
        return held;
    }

    /**
     * Whether to ask again with more of the image: an outline runs into an edge of the pushed pixels beyond which the image goes on.
     *
     * @param growth how often the region has been doubled already
     */
    static boolean wantsMore(SamPrediction answer, SamImage image, SamImage.Held held, int growth) {
        return growth < MAX_GROWTH
                && answer.results().stream()
                        .map(SamResult::best)
                        .anyMatch(mask -> mask != null
                                && held.plan().cuts(Wkb.bounds(mask.wkb()), image.width(), image.height()));
    }

    private PushPixelsResponse push(PushPixelsRequest request) {
        long most = connection.maxMessageBytes();
        if (request.getSerializedSize() > most) {
            throw new SamException(
                    FailureReason.TOO_LARGE,
                    request.getSerializedSize() + " bytes of pixels are more than the " + most + " that the server takes; "
                            + FailureReason.TOO_LARGE.advice());
        }
        return connection.call(stub -> stub.pushPixels(request));
    }

    private PushPixelsRequest request(SamImage image, PushPlan plan) {
        BufferedImage pixels;
        try {
            pixels = image.pixels().read(plan.region(), plan.downsample());
        } catch (InterruptedException stopped) {
            Thread.currentThread().interrupt();
            throw new SamException(FailureReason.CANCELLED, "stopped while reading pixels", stopped);
        } catch (Exception unreadable) {
            throw new SamException(
                    FailureReason.SLIDE_UNREADABLE,
                    "the pixels of " + plan.region() + " cannot be read here either (" + unreadable + "); open the image",
                    unreadable);
        }
        PixelFormat format = PixelEncoding.formatFor(connection.settings());
        ByteString data =
                format == PixelFormat.PIXEL_FORMAT_RAW_RGB ? PixelEncoding.raw(pixels) : PixelEncoding.png(pixels);
        return PushPixelsRequest.newBuilder()
                .setFormat(format)
                .setData(data)
                .setPixelWidth(pixels.getWidth())
                .setPixelHeight(pixels.getHeight())
                .setRegion(Messages.region(plan.region()))
                .setImageWidth(image.width())
                .setImageHeight(image.height())
                .setMpp(image.slide().getMpp())
                .setRendering(image.rendering())
                .build();
    }
}
