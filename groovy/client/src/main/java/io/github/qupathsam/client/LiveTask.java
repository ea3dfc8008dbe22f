package io.github.qupathsam.client;

import io.github.qupathsam.v1.ImageRef;
import io.github.qupathsam.v1.LiveRequest;
import io.github.qupathsam.v1.LiveResponse;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;
import java.util.function.Function;

/** One request of a {@link LiveSession} until it is answered, however often it has to be sent. Its future may be touched by all threads. */
final class LiveTask<T> {
    private static final int MAX_PUSHES = 2;

    /** Makes the message, when it is known under which number and how the server gets the image. */
    interface Message {
        LiveRequest of(long id, ImageRef image, Settings settings);
    }

    final SamImage image;
    /** What the window must show, level-0 px. */
    final Bounds bounds;
    final double viewDownsample;
    /** A newer task with the same key makes this one useless; empty never. */
    final String key;
    final CompletableFuture<T> future = new CompletableFuture<>();

    private final Message message;
    private final Function<LiveResponse, T> reading;
    private final Consumer<String> notice;
    private SamImage.Held held;
    private ImageRef ref;
    private Backoff patience;
    private long id;
    private int pushes;
    private int growth;
    private long sentNanos = System.nanoTime();

    LiveTask(
            SamImage image,
            Bounds bounds,
            double viewDownsample,
            String key,
            Message message,
            Function<LiveResponse, T> reading,
            Consumer<String> notice) {
        this.image = image;
        this.bounds = bounds;
        this.viewDownsample = viewDownsample;
        this.key = key;
        this.message = message;
        this.reading = reading;
        this.notice = notice;
    }

    long id() {
        return id;
    }

    /** How often the pushed region has been doubled. */
    int growth() {
        return growth;
    }

    boolean isDone() {
        return future.isDone();
    }

    void fail(SamException failure) {
        future.completeExceptionally(failure);
    }

    /** The task is to be sent under this number, once it is known how to name the image. */
    void renumber(long newId) {
        id = newId;
        ref = null;
        held = null;
    }

    void readBy(ImageRef slide) {
        ref = slide;
    }

    void readBy(SamImage.Held pushed) {
        held = pushed;
        ref = SamImage.pushedRef(pushed);
    }

    /** Whether the image can be named. */
    boolean isReady() {
        return ref != null;
    }

    /** The message, which is sent now. */
    LiveRequest message(Settings settings) {
        sentNanos = System.nanoTime();
        return message.of(id, ref, settings);
    }

    /** Since the message was last made. */
    long millisSinceSent() {
        return (System.nanoTime() - sentNanos) / 1_000_000;
    }

    /** Tells what the answer waits for. */
    void tell(String sentence) {
        if (!isDone()) {
            notice.accept(sentence);
        }
    }

    /** Takes the answer; false where the same must be asked again with more of the image. */
    boolean answer(LiveResponse response) {
        T value = reading.apply(response);
        if (held != null && value instanceof SamPrediction answer && PixelPusher.wantsMore(answer, image, held, growth)) {
            growth++;
            return false;
        }
        future.complete(value);
        return true;
    }

    /** Whether pixels can cure this refusal; from now on they are pushed. */
    boolean pushInstead(SamException refusal) {
        if (!refusal.reason().wantsPixels() || !image.canPush() || pushes++ >= MAX_PUSHES) {
            return false;
        }
        if (refusal.reason() == FailureReason.PIXELS_MISSING) {
            image.forgetHeld();
        }
        image.startPushing();
        return true;
    }

    /** How long to leave a busy server alone before asking again, milliseconds; -1 gives up. */
    long pause(SamException refusal, Settings settings) {
        if (refusal.reason() != FailureReason.BUSY && refusal.reason() != FailureReason.STARTING) {
            return -1;
        }
        if (patience == null) {
            patience = new Backoff(settings.patience());
        }
        return patience.nextMillis();
    }
}
