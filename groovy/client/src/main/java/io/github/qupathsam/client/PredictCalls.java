package io.github.qupathsam.client;

import io.github.qupathsam.v1.ImageRef;
import io.github.qupathsam.v1.PredictRequest;
import java.util.ArrayList;
import java.util.List;

/** Predict for any number of objects: as many at once as the server takes, one by one where pixels are pushed. */
final class PredictCalls {
    private final Connection connection;
    private final PixelPusher pusher;

    PredictCalls(Connection connection, PixelPusher pusher) {
        this.connection = connection;
        this.pusher = pusher;
    }

    SamPrediction predict(SamImage image, List<Prompts> objects, PredictOptions options) {
        return refine(image, objects, options, null);
    }

    /** With {@code refine}, objects are outlines that are to be replaced by better ones; null asks for plain outlines. */
    SamPrediction refine(SamImage image, List<Prompts> objects, PredictOptions options, RefineOptions refine) {
        Capabilities server = connection.capabilities();
        if (!server.readsSlides() && image.canPush()) {
            image.startPushing();
        }
        int most = Math.max(1, server.maxObjects());
        RefineOptions inWindow = refine == null ? null : refine.inWindow();
        List<SamPrediction> parts = new ArrayList<>();
        for (int from = 0; from < objects.size(); from += most) {
            parts.add(part(image, objects.subList(from, Math.min(objects.size(), from + most)), options, inWindow));
        }
        SamPrediction answer = joined(parts);
        return refine == null || !refine.alongBorder() ? answer : alongBorder(image, objects, options, refine, answer);
    }

    /** The same answer, with the outlines that are too large for a window refined along their border, each in a call of its own. */
    private SamPrediction alongBorder(
            SamImage image, List<Prompts> objects, PredictOptions options, RefineOptions refine, SamPrediction answer) {
        List<SamPrediction> each = new ArrayList<>();
        for (int i = 0; i < objects.size(); i++) {
            SamResult result = answer.results().get(i);
            each.add(result.isTooLarge()
                    ? part(image, objects.subList(i, i + 1), options, refine)
                    : new SamPrediction(List.of(result), answer.provenance(), 0, 0));
        }
        SamPrediction all = joined(each);
        return new SamPrediction(all.results(), answer.provenance(), all.totalMs() + answer.totalMs(), all.encodeMs() + answer.encodeMs());
    }

    private SamPrediction part(
            SamImage image, List<Prompts> objects, PredictOptions options, RefineOptions refine) {
        if (!image.isPushing()) {
            try {
                return ask(image.slideRef(), objects, options, refine);
            } catch (SamException failure) {
                if (!failure.reason().wantsPixels() || !image.canPush()) {
                    throw failure;
                }
                image.startPushing();
            }
        }
        return joined(objects.stream().map(prompts -> pushed(image, prompts, options, refine)).toList());
    }

    /** One object by pushed pixels: again with more of the image while its outline runs into the edge of what was pushed. */
    private SamPrediction pushed(SamImage image, Prompts prompts, PredictOptions options, RefineOptions refine) {
        for (int growth = 0; ; growth++) {
            SamImage.Held held = pusher.held(image, prompts.bounds(), options.viewDownsample(), growth);
            SamPrediction answer;
            try {
                answer = ask(SamImage.pushedRef(held), List.of(prompts), options, refine);
            } catch (SamException failure) {
                if (failure.reason() != FailureReason.PIXELS_MISSING) {
                    throw failure;
                }
                image.forgetHeld();
                held = pusher.held(image, prompts.bounds(), options.viewDownsample(), growth);
                answer = ask(SamImage.pushedRef(held), List.of(prompts), options, refine);
            }
            if (!PixelPusher.wantsMore(answer, image, held, growth)) {
                return answer;
            }
        }
    }

    private SamPrediction ask(ImageRef image, List<Prompts> objects, PredictOptions options, RefineOptions refine) {
        PredictRequest request = Messages.predict(image, objects, options, refine, connection.settings());
        return Messages.prediction(connection.call(stub -> stub.predict(request)), objects.size());
    }

    private static SamPrediction joined(List<SamPrediction> parts) {
        if (parts.size() == 1) {
            return parts.get(0);
        }
        return new SamPrediction(
                parts.stream().flatMap(part -> part.results().stream()).toList(),
                parts.get(0).provenance(),
                parts.stream().mapToDouble(SamPrediction::totalMs).sum(),
                parts.stream().mapToDouble(SamPrediction::encodeMs).sum());
    }
}
