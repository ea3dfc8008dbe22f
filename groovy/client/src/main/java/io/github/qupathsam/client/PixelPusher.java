package io.github.qupathsam.client;

import com.google.protobuf.ByteString;
import io.github.qupathsam.v1.ImageRef;
import io.github.qupathsam.v1.PixelFormat;
import io.github.qupathsam.v1.PushPixelsRequest;
import io.github.qupathsam.v1.PushPixelsResponse;
import java.awt.image.BufferedImage;
import java.util.function.Function;

/** Sends the pixels round some prompts, unless the server has them. */
final class PixelPusher {
    private final Settings settings;
    private final Function<PushPixelsRequest, PushPixelsResponse> push;

    /** @param push the call, with its retries; throws SamException */
    PixelPusher(Settings settings, Function<PushPixelsRequest, PushPixelsResponse> push) {
        this.settings = settings;
        this.push = push;
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
        PushPixelsResponse answer = push.apply(request(image, plan));
        SamImage.Held held = new SamImage.Held(plan, answer.getDigest());
        image.remember(held);
        return held;
    }

    ImageRef ref(SamImage image, Bounds bounds, double viewDownsample) {
        return SamImage.pushedRef(held(image, bounds, viewDownsample, 0));
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
        PixelFormat format = PixelEncoding.formatFor(settings);
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
