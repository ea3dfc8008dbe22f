package io.github.qupathsam.client;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;

/**
 * One object that a person is clicking: its clicks, the outline after each, and the request under way.
 *
 * <p>Nothing here blocks. Every change is shown to a listener as a {@link View}; it may come on any thread. A newer click cancels what an
 * older one still waits for; taking a click back shows the outline before it at once.
 */
public final class ClickSession {
    /**
     * What to draw.
     *
     * @param clicks in order
     * @param mask the newest outline, or null
     * @param working an answer is awaited
     * @param message what a person should know, or empty
     */
    public record View(List<Click> clicks, SamMask mask, boolean working, String message) {
        static final View EMPTY = new View(List.of(), null, false, "");
    }

    /**
     * What becomes an annotation.
     *
     * @param viewDownsample of the first click
     */
    public record Kept(SamMask mask, Provenance provenance, List<Click> clicks, double viewDownsample) {
        /** What made the outline, with the clicks as {@code +x,y -x,y} in level-0 px: enough to make it again. */
        public Map<String, String> metadata() {
            Map<String, String> metadata = new LinkedHashMap<>(provenance.metadata());
            List<String> places = new ArrayList<>();
            for (Click click : clicks) {
                Point place = click.points().get(0);
                places.add((click.positive() ? "+" : "-") + place.x() + "," + place.y());
            }
            metadata.put("SAM clicks", String.join(" ", places));
            metadata.put("SAM view downsample", String.valueOf(viewDownsample));
            return metadata;
        }
    }

    private static final class Step {
        final Click click;
        SamResult answer;
        Provenance provenance;

        Step(Click click) {
            this.click = click;
        }
    }

    private final LiveSession live;
    private final SamImage image;
    private final Consumer<View> listener;
    private final List<Step> steps = new ArrayList<>();
    private PredictOptions options;
    private CompletableFuture<SamPrediction> request;
    private CompletableFuture<Kept> keeping;
    private String message = "";

    ClickSession(LiveSession live, SamImage image, PredictOptions options, Consumer<View> listener) {
        this.live = live;
        this.image = image;
        this.options = options;
        this.listener = listener;
    }

    /** Whether there is anything to keep, drop or take back. */
    public synchronized boolean isEmpty() {
        return steps.isEmpty();
    }

    /**
     * A further click, level-0 px.
     *
     * @param viewDownsample at which the person looks; the first click's holds for the object's whole life
     */
    public synchronized void click(double x, double y, boolean positive, double viewDownsample) {
        if (steps.isEmpty()) {
            if (!positive) {
                message = "Click on the object first, then take away from it";
                show();
                return;
            }
            options = options.withViewDownsample(viewDownsample);
        }
        steps.add(new Step(Click.at(x, y, positive)));
        ask();
    }

    /** Takes the last click back; false where there is none. */
    public synchronized boolean undo() {
        if (steps.isEmpty()) {
            return false;
        }
        steps.remove(steps.size() - 1);
        stopAsking();
        message = "";
        if (!steps.isEmpty() && last().answer == null) {
            ask();
        } else {
            show();
        }
        return true;
    }

    /** Forgets the object. */
    public synchronized void drop() {
        steps.clear();
        stopAsking();
        if (keeping != null) {
            keeping.cancel(false);
            keeping = null;
        }
        message = "";
        show();
    }

    /** Ends the object: its outline, as soon as the last click is answered. Fails where there is no outline. */
    public synchronized CompletableFuture<Kept> keep() {
        if (keeping == null) {
            keeping = new CompletableFuture<>();
        }
        CompletableFuture<Kept> mine = keeping;
        if (request == null) {
            finish();
        }
        return mine;
    }

    public synchronized View view() {
        SamMask mask = null;
        for (int i = steps.size() - 1; i >= 0 && mask == null; i--) {
            if (steps.get(i).answer != null) {
                mask = steps.get(i).answer.best();
                break;
            }
        }
        return new View(steps.stream().map(step -> step.click).toList(), mask, request != null, message);
    }

    private void ask() {
        stopAsking();
        message = "";
        Step asked = last();
        request = live.predict(image, prompts(), options, "click");
        CompletableFuture<SamPrediction> mine = request;
        show();
        mine.whenComplete((prediction, failure) -> answered(asked, mine, prediction, failure));
    }

    /** All clicks, with the token of the newest answer that they continue. */
    private Prompts prompts() {
        Prompts prompts = Prompts.of(steps.stream().map(step -> step.click).toList());
        for (int i = steps.size() - 1; i >= 0; i--) {
            if (steps.get(i).answer != null) {
                return prompts.continuing(steps.get(i).answer.token());
            }
        }
        return prompts;
    }

    private synchronized void answered(
            Step asked, CompletableFuture<SamPrediction> mine, SamPrediction prediction, Throwable failure) {
        if (request != mine) {
            return;
        }
        request = null;
        if (failure != null) {
            message = SamException.of(failure).getMessage();
        } else {
            asked.answer = prediction.single();
            asked.provenance = prediction.provenance();
            message = asked.answer.best() == null ? "Nothing found here" : "";
        }
        if (keeping != null) {
            finish();
        } else {
            show();
        }
    }

    private void finish() {
        CompletableFuture<Kept> mine = keeping;
        keeping = null;
        SamResult answer = steps.isEmpty() ? null : last().answer;
        if (answer == null || answer.best() == null) {
            String why = message.isEmpty() ? "There is no outline to keep" : message;
            show();
            mine.completeExceptionally(new SamException(FailureReason.INVALID_REQUEST, why));
            return;
        }
        Kept kept = new Kept(
                answer.best(),
                last().provenance,
                steps.stream().map(step -> step.click).toList(),
                options.viewDownsample());
        steps.clear();
        message = "";
        show();
        mine.complete(kept);
    }

    private Step last() {
        return steps.get(steps.size() - 1);
    }

    private void stopAsking() {
        if (request != null) {
            CompletableFuture<SamPrediction> stopped = request;
            request = null;
            stopped.cancel(false);
        }
    }

    private void show() {
        listener.accept(steps.isEmpty() && message.isEmpty() ? View.EMPTY : view());
    }
}
