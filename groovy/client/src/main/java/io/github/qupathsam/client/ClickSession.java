package io.github.qupathsam.client;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;
import org.locationtech.jts.geom.Geometry;

/**
 * One object that a person is clicking: its clicks, the outline after each, and the request under way.
 *
 * <p>Nothing here blocks. Every change is shown to a listener as a {@link ClickView}; it may come on any thread. Clicks that come while
 * one is being answered were made on the same outline: they wait, and are then asked for as one step, a few at a time, each time from
 * where the last answer ended. An outline is shown on the way, and nothing is decoded twice. Taking a click back shows the outline
 * before it at once.
 */
public final class ClickSession {
    /** A click or scribble; or, as the first one only, a box. An outline from before comes ahead of all. */
    private static final class Step {
        final PixelBox box;
        Click click;
        /** The outline that the person saw was that of the click before. */
        boolean onSameOutline;
        SamResult answer;
        Provenance provenance;
        /** Which of the answer's outlines the person wants. */
        int choice;

        Step(PixelBox box, Click click) {
            this.box = box;
            this.click = click;
        }

        SamMask chosen() {
            return answer == null || answer.masks().isEmpty() ? null : answer.masks().get(choice);
        }
    }

    /** Clicks that are asked for together while more of them wait: fewer show more outlines on the way, more take less time. */
    static final int CLICKS_AT_ONCE = 3;
    /** Most outlines of a first click: part, object and region. */
    private static final int MOST_OUTLINES = 3;

    private LiveSession live;
    private String key;
    private SamImage image;
    private final List<Step> steps = new ArrayList<>();
    private Consumer<ClickView> listener;
    /** What every object begins with. */
    private final PredictOptions initial;
    private PredictOptions options;
    private CompletableFuture<SamPrediction> request;
    /** The last step that the request is about. */
    private Step asked;
    /** The request is for other outlines of a click that is answered already: whatever else the person does ends it. */
    private boolean lookingCloser;
    private CompletableFuture<KeptOutline> keeping;
    private String message = "";
    /** What the request waits for, for a person; empty where nothing was said of it. */
    private String notice = "";
    /** The outline that is refined, and whose it is; or null. */
    private byte[] old;
    private Object source;
    private int grown;
    /** The outline as the person made it wider: what it was made from, and by how much. */
    private SamMask grownFrom;
    private int grownBy;
    private SamMask grownMask;

    /** @param key the session's own among those of the stream */
    ClickSession(LiveSession live, String key, SamImage image, PredictOptions options, Consumer<ClickView> listener) {
        this.live = live;
        this.key = key;
        this.image = image;
        // A person who clicks one nucleus after the other does not wait for a window of each.
        this.initial = options.preferringEmbedded();
        this.options = initial;
        this.listener = listener;
    }

    /** Whether there is anything to keep, drop or take back. */
    public synchronized boolean isEmpty() {
        return steps.isEmpty();
    }

    /** Whether the object waits for its last answer to become an annotation: a further click belongs to another object. */
    public synchronized boolean isBeingKept() {
        return keeping != null;
    }

    /**
     * A further click, level-0 px.
     *
     * @param viewDownsample at which the person looks; the first click's holds for the object's whole life
     */
    public synchronized void click(double x, double y, boolean positive, double viewDownsample) {
        add(Click.at(x, y, positive), viewDownsample);
    }

    /** Points along a stroke, level-0 px: one act of pointing, as a click is. */
    public synchronized void scribble(List<Point> stroke, boolean positive, double viewDownsample) {
        add(new Click(Strokes.alongLine(stroke), positive), viewDownsample);
    }

    /** A rectangle round the object, level-0 px, in place of one before; clicks that are there already refine it. */
    public synchronized void box(PixelBox box, double viewDownsample) {
        stopKeeping();
        stopAsking();
        if (steps.isEmpty()) {
            options = initial.withViewDownsample(viewDownsample);
        }
        steps.removeIf(step -> step.box != null);
        // A box comes first in every answer, so that none of those before is one to go on from.
        steps.replaceAll(step -> new Step(null, step.click.from(Click.FROM_BEST)));
        steps.add(0, new Step(box, null));
        ask();
    }

    /**
     * Refines an outline that is there already, with a first click in or, to take away from it, beside it; level-0 px.
     *
     * @param of the caller's own: whose outline it is
     * @param wkb as {@link Outlines#wkb} writes it
     * @throws SamException where the session has an object already
     */
    public synchronized void refine(Object of, byte[] wkb, Click click, double viewDownsample) {
        if (!steps.isEmpty()) {
            throw new SamException(FailureReason.INVALID_REQUEST, "another object is being clicked; keep or drop it first");
        }
        source = of;
        old = wkb.clone();
        add(click, viewDownsample);
    }

    /** The caller's own, whose outline is refined; null where none is. */
    public synchronized Object source() {
        return source;
    }

    private void add(Click click, double viewDownsample) {
        stopKeeping();
        stopLookingCloser();
        if (steps.isEmpty()) {
            if (!click.positive() && old == null) {
                message = "Click on the object first, then take away from it";
                show();
                return;
            }
            options = initial.withViewDownsample(viewDownsample);
        }
        // Where the person has chosen another outline than the best, the model goes on from that.
        SamMask seen = steps.isEmpty() || last().choice == 0 ? null : last().chosen();
        boolean waits = !steps.isEmpty() && last().answer == null;
        steps.add(new Step(null, seen == null ? click : click.from(seen.index())));
        last().onSameOutline = waits;
        ask();
    }

    /**
     * Another of the outlines that the answer has, from which a further click goes on. After the last one, where a first click has fewer
     * than three, the server looks once more, closer, for a part of it.
     *
     * @return false where there is no other, and nothing to look for
     */
    public synchronized boolean next() {
        Step newest = newest();
        if (newest == null || newest.answer.masks().isEmpty()) {
            return false;
        }
        int outlines = newest.answer.masks().size();
        if (newest.choice == outlines - 1 && canLookCloser()) {
            lookCloser();
            return true;
        }
        if (outlines < 2) {
            return false;
        }
        newest.choice = (newest.choice + 1) % outlines;
        show();
        return true;
    }

    /** Whether {@link #next} has something to show or to look for. */
    public synchronized boolean hasNext() {
        Step newest = newest();
        return newest != null && !newest.answer.masks().isEmpty() && (newest.answer.masks().size() > 1 || canLookCloser());
    }

    /** Whether more outlines of a first click may be found: the server chose its window, and has not been asked before. */
    private boolean canLookCloser() {
        return steps.size() == 1
                && request == null
                && keeping == null
                && old == null
                && box() == null
                && options.choice() == PredictOptions.Choice.ALL
                && options.downsample() == 0
                && options.mpp() == 0
                && !options.closerLook()
                && last().answer.masks().size() < MOST_OUTLINES;
    }

    private void lookCloser() {
        message = "";
        asked = last();
        lookingCloser = true;
        PredictOptions closer = options.lookingCloser();
        // Without a token: the server takes the click once more.
        notice = "";
        Step about = asked;
        request = live.predict(image, prompts(0, 1), closer, key, sentence -> noticed(about, sentence));
        CompletableFuture<SamPrediction> mine = request;
        show();
        mine.whenComplete((prediction, failure) -> lookedCloser(mine, closer, prediction, failure));
    }

    private synchronized void lookedCloser(
            CompletableFuture<SamPrediction> mine, PredictOptions closer, SamPrediction prediction, Throwable failure) {
        if (request != mine) {
            return;
        }
        Step step = asked;
        request = null;
        asked = null;
        lookingCloser = false;
        if (failure != null) {
            message = SamException.of(failure).getMessage();
        } else if (!prediction.single().masks().isEmpty()) {
            // What was seen closer comes last.
            int before = step.answer.masks().size();
            step.answer = prediction.single();
            step.provenance = prediction.provenance();
            step.choice = before % step.answer.masks().size();
            options = closer;
        }
        show();
    }

    private void stopLookingCloser() {
        if (lookingCloser) {
            stopAsking();
        }
    }

    /**
     * Makes the outline wider by so many level-0 px on all sides, or narrower; false where there is none, or nothing would be left. It
     * stays so when a further click changes the outline.
     */
    public synchronized boolean grow(int px) {
        if (newest() == null || newest().chosen() == null || widened(newest().chosen(), grown + px) == null) {
            return false;
        }
        grown += px;
        show();
        return true;
    }

    /** Takes the last click back, and the wish to keep the object; false where there is no click. */
    public synchronized boolean undo() {
        stopKeeping();
        if (steps.isEmpty()) {
            return false;
        }
        if (steps.remove(steps.size() - 1) == asked) {
            stopAsking();
        }
        if (steps.isEmpty()) {
            clear();
        }
        ask();
        return true;
    }

    /** Forgets the object. */
    public synchronized void drop() {
        stopKeeping();
        clear();
        stopAsking();
        message = "";
        show();
    }

    private void clear() {
        steps.clear();
        old = null;
        source = null;
        grown = 0;
    }

    /** The person has come back to the image of this object, which has been opened again since. */
    public synchronized void resume(SamImage reopened, Consumer<ClickView> newListener) {
        image = reopened;
        listener = newListener;
        show();
    }

    /** The person turns to another server: the object stays as it is, and what is unanswered is asked there. */
    public synchronized void moveTo(LiveSession other) {
        live = other;
        key = other.nextKey();
        stopAsking();
        ask();
    }

    /** The person turns to something else: nothing more is shown, and the object is forgotten unless it is being kept. */
    public synchronized void leave() {
        listener = view -> {};
        if (keeping == null) {
            drop();
        }
    }

    /**
     * Ends the object: its outline, as soon as the last click is answered.
     *
     * <p>Fails where there is no outline, and with CANCELLED where the object is being kept already or is wanted no more.
     */
    public synchronized CompletableFuture<KeptOutline> keep() {
        CompletableFuture<KeptOutline> mine = new CompletableFuture<>();
        stopLookingCloser();
        if (keeping != null) {
            mine.completeExceptionally(new SamException(FailureReason.CANCELLED, "the outline is being kept already"));
            return mine;
        }
        keeping = mine;
        if (request == null) {
            finish();
        }
        return mine;
    }

    /** As {@link #keep}, for a double click, whose first half was a click: on an outline that was there already it is taken back. */
    public synchronized CompletableFuture<KeptOutline> keepAfterDoubleClick() {
        if (keeping == null && steps.size() > 1) {
            undo();
        }
        return keep();
    }

    public synchronized ClickView view() {
        Step newest = newest();
        SamMask mask = newest == null ? null : shown(newest);
        if (mask == null) {
            return new ClickView(box(), clicks(), null, 0, 0, grown, List.of(), request != null, told());
        }
        return new ClickView(
                box(),
                clicks(),
                mask,
                newest.choice,
                newest.answer.masks().size(),
                grown,
                newest.choice == 0 ? newest.answer.doubts() : List.of(),
                request != null,
                told());
    }

    private String told() {
        return message.isEmpty() && request != null ? notice : message;
    }

    /** The outline of a step that the person chose, as wide as they made it; where nothing would be left of it, as it was. */
    private SamMask shown(Step step) {
        SamMask chosen = step.chosen();
        SamMask widened = chosen == null ? null : widened(chosen, grown);
        return widened == null ? chosen : widened;
    }

    private SamMask widened(SamMask mask, int px) {
        if (px == 0) {
            return mask;
        }
        if (grownFrom != mask || grownBy != px) {
            Geometry wider = Outlines.grown(Outlines.of(mask.wkb()), px, image.width(), image.height());
            double um2 = mask.areaUm2() / mask.areaPx2() * wider.getArea();
            grownMask = wider.isEmpty() ? null : mask.outlined(Outlines.wkb(wider), wider.getArea(), um2);
            grownFrom = mask;
            grownBy = px;
        }
        return grownMask;
    }

    private PixelBox box() {
        return steps.isEmpty() ? null : steps.get(0).box;
    }

    private List<Click> clicks() {
        return steps.stream().filter(step -> step.click != null).map(step -> step.click).toList();
    }

    /** The last step that is answered; null where none is. */
    private Step newest() {
        int answered = answered();
        return answered == 0 ? null : steps.get(answered - 1);
    }

    /** Goes on until the last step is answered. */
    private void ask() {
        message = "";
        if (request == null && !steps.isEmpty() && last().answer == null) {
            int answered = answered();
            int end = joined(answered);
            asked = steps.get(end - 1);
            notice = "";
            Step newest = asked;
            request = live.predict(image, prompts(answered, end), optionsToAsk(), key, sentence -> noticed(newest, sentence));
            CompletableFuture<SamPrediction> mine = request;
            show();
            mine.whenComplete((prediction, failure) -> answered(mine, prediction, failure));
        } else {
            show();
        }
    }

    private synchronized void noticed(Step about, String sentence) {
        if (request != null && asked == about) {
            notice = sentence;
            show();
        }
    }

    /**
     * Those of the session. A server that no longer holds the first click's answer makes it again: a mask that a later click names is then
     * to be there, and may have come from a closer look.
     */
    private PredictOptions optionsToAsk() {
        boolean isMaskNamed = clicks().stream().anyMatch(click -> click.fromMask() != Click.FROM_BEST);
        return isMaskNamed ? options.lookingCloser() : options;
    }

    /** Makes one step of the model of clicks that were made on the same outline; returns the number of clicks and boxes to ask for. */
    private int joined(int answered) {
        int end = Math.min(steps.size(), answered + CLICKS_AT_ONCE);
        // A first click says what the object is: those after it have more to go by when it is answered.
        for (int i = Math.max(answered + 1, 2); i < end; i++) {
            Step next = steps.get(i);
            if (next.onSameOutline) {
                next.click = next.click.withTheOneBefore();
            }
        }
        return end;
    }

    /** How many steps the newest answer has behind it. */
    private int answered() {
        int count = steps.size();
        while (count > 0 && steps.get(count - 1).answer == null) {
            count--;
        }
        return count;
    }

    /** The first clicks, with the token of the newest answer that they continue. */
    private Prompts prompts(int answered, int end) {
        PixelBox box = box();
        Prompts prompts = Prompts.of(clicks().subList(0, box == null ? end : end - 1));
        if (box != null) {
            prompts = prompts.inBox(new Bounds(box.minX(), box.minY(), box.maxX(), box.maxY()));
        }
        if (old != null) {
            prompts = prompts.ofOutline(old);
        }
        return answered == 0 ? prompts : prompts.continuing(steps.get(answered - 1).answer.token());
    }

    private synchronized void answered(
            CompletableFuture<SamPrediction> mine, SamPrediction prediction, Throwable failure) {
        if (request != mine) {
            return;
        }
        Step answered = asked;
        request = null;
        asked = null;
        if (failure != null) {
            message = SamException.of(failure).getMessage();
        } else {
            answered.answer = prediction.single();
            answered.provenance = prediction.provenance();
            if (answered != last()) {
                ask();
                return;
            }
            message = answered.answer.best() == null ? "Nothing found here" : "";
        }
        if (keeping != null) {
            finish();
        } else {
            show();
        }
    }

    private void finish() {
        CompletableFuture<KeptOutline> mine = keeping;
        keeping = null;
        SamResult answer = steps.isEmpty() ? null : last().answer;
        if (answer == null || answer.best() == null) {
            message = message.isEmpty() ? "There is no outline to keep" : message;
            show();
            mine.completeExceptionally(new SamException(FailureReason.INVALID_REQUEST, message));
            return;
        }
        int by = widened(last().chosen(), grown) == null ? 0 : grown;
        KeptOutline kept = new KeptOutline(
                answer, last().choice, shown(last()), by, last().provenance, source, box(), clicks(), options.viewDownsample());
        clear();
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
            asked = null;
            lookingCloser = false;
            stopped.cancel(false);
        }
    }

    /** The person no longer waits for the outline to become an annotation; it stays as it is shown. */
    public synchronized void stopKeeping() {
        if (keeping != null) {
            CompletableFuture<KeptOutline> stopped = keeping;
            keeping = null;
            stopped.cancel(false);
        }
    }

    private void show() {
        listener.accept(steps.isEmpty() && message.isEmpty() ? ClickView.EMPTY : view());
    }
}
