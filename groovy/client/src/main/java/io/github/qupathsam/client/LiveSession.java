package io.github.qupathsam.client;

import io.github.qupathsam.v1.ErrorInfo;
import io.github.qupathsam.v1.LiveRequest;
import io.github.qupathsam.v1.LiveResponse;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * The stream that stays open as long as a person clicks.
 *
 * <p>No method blocks. A newer request with the same key cancels the older ones, here and on the server. While the server is away, or
 * has not come up yet, what is unanswered waits, and is asked as soon as it is there. From then on an answer may take
 * {@link Settings#timeout()}. Futures complete on this session's own thread and fail with {@link SamException}.
 */
public final class LiveSession implements AutoCloseable {
    /** Whether the server can be reached. DISCONNECTED: not for a while; it is still looked for as long as a caller waits. */
    public enum State {
        CONNECTED,
        RECONNECTING,
        DISCONNECTED
    }

    /** Runs everything but reading and pushing pixels; all fields that are not final are touched there only. */
    private final ScheduledThreadPoolExecutor actor =
            new ScheduledThreadPoolExecutor(1, task -> SamClient.daemon(task, "qupath-sam-live"));
    /** Reading pixels may take seconds; cancelling must not wait for it. */
    private final ExecutorService reader =
            Executors.newSingleThreadExecutor(task -> SamClient.daemon(task, "qupath-sam-pixels"));

    private final Supplier<SamClient> connecting;
    private final Consumer<SamClient> closing;
    private final UnansweredTasks unanswered = new UnansweredTasks();
    private final AtomicBoolean closed = new AtomicBoolean();
    private final AtomicLong objects = new AtomicLong();
    private volatile Consumer<State> stateListener = state -> {};
    private volatile String trouble = "";
    private SamClient client;
    private LiveConnection stream;

    /**
     * @param connecting called on this session's thread for the first request, and again for the next one where it throws
     * @param closing what to do with the client in the end
     */
    LiveSession(Supplier<SamClient> connecting, Consumer<SamClient> closing) {
        this.connecting = connecting;
        this.closing = closing;
        actor.setRemoveOnCancelPolicy(true);
    }

    /** With the settings of this machine and user, which are read for the first request. */
    public static LiveSession open() {
        return new LiveSession(SamClient::connect, SamClient::close);
    }

    /** Called, on this session's thread, when the server comes and goes. */
    public void onState(Consumer<State> listener) {
        stateListener = listener;
    }

    /** Why answers are to be waited for, for a person; empty where the server is there, or nothing is known of it. */
    public String trouble() {
        return trouble;
    }

    /**
     * The outline of one object.
     *
     * @param key a newer request with the same key cancels this one; empty never
     */
    public CompletableFuture<SamPrediction> predict(
            SamImage image, Prompts prompts, PredictOptions options, String key) {
        return predict(image, prompts, options, key, notice -> {});
    }

    /** @param notice is given a sentence for a person when the answer takes longer than usual, on this session's own thread */
    CompletableFuture<SamPrediction> predict(
            SamImage image, Prompts prompts, PredictOptions options, String key, Consumer<String> notice) {
        return start(new LiveTask<>(
                image,
                prompts.bounds(),
                options.viewDownsample(),
                key,
                (id, ref, settings) -> LiveRequest.newBuilder()
                        .setRequestId(id)
                        .setSupersedesKey(key)
                        .setPredict(Messages.predict(ref, List.of(prompts), options, settings))
                        .build(),
                response -> Messages.prediction(response.getPredict(), 1),
                notice));
    }

    /** An object that a person clicks together; every change is shown to the listener, on any thread. */
    public ClickSession clicks(SamImage image, PredictOptions options, Consumer<ClickView> listener) {
        return new ClickSession(this, nextKey(), image, options, listener);
    }

    /** For an object that no request has been about. */
    String nextKey() {
        return "object " + objects.incrementAndGet();
    }

    /**
     * Asks for the windows in view to be encoded in the background, so that the first click finds them ready.
     *
     * @param view level-0 px
     * @param focus where the pointer is, level-0 px; null takes the middle
     */
    public CompletableFuture<List<EmbeddedWindow>> embed(
            SamImage image, PixelRegion view, Point focus, PredictOptions options) {
        return start(new LiveTask<>(
                image,
                Bounds.of(focus != null ? focus : view.bounds().centre()),
                options.viewDownsample(),
                "view",
                (id, ref, settings) -> LiveRequest.newBuilder()
                        .setRequestId(id)
                        .setEmbed(Messages.embed(ref, view, focus, options, settings))
                        .build(),
                response -> Messages.windows(response.getEmbed()),
                notice -> {}));
    }

    /** Cancels what is unanswered. */
    @Override
    public void close() {
        if (closed.compareAndSet(false, true)) {
            actor.execute(() -> {
                unanswered.failAll(sessionClosed());
                if (client != null) {
                    stream.close();
                    closing.accept(client);
                }
                actor.shutdown();
            });
            reader.shutdownNow();
        }
    }

    private <T> CompletableFuture<T> start(LiveTask<T> task) {
        task.future.whenComplete((value, failure) -> inActor(() -> withdraw(task)));
        if (!inActor(() -> begin(task))) {
            task.fail(sessionClosed());
        }
        return task.future;
    }

    private void begin(LiveTask<?> task) {
        unanswered.supersede(task.key);
        if (task.isDone()) {
            return;
        }
        if (closed.get()) {
            task.fail(sessionClosed());
            return;
        }
        try {
            connect();
        } catch (SamException failure) {
            task.fail(failure);
            return;
        } catch (IllegalArgumentException wrongSettings) {
            task.fail(new SamException(FailureReason.INVALID_REQUEST, wrongSettings.getMessage(), wrongSettings));
            return;
        }
        unanswered.add(task);
        prepare(task);
        watch(task, client.settings().timeout().toMillis());
    }

    /** Looks, after so long, whether the task has been with a server for too long. */
    private void watch(LiveTask<?> task, long millis) {
        Future<?> deadline = actor.schedule(() -> expire(task), millis, TimeUnit.MILLISECONDS);
        task.future.whenComplete((value, failure) -> deadline.cancel(false));
    }

    private void connect() {
        if (client == null) {
            client = connecting.get();
            stream = new LiveConnection(client.connection(), actor, new Requests(), this::tell);
        }
    }

    /** Finds out how to name the image, then sends. */
    private void prepare(LiveTask<?> task) {
        if (!task.image.isPushing()) {
            task.readBy(task.image.slideRef());
            stream.send(task.message(client.settings()));
            return;
        }
        long id = task.id();
        PixelPusher pusher = client.pusher();
        try {
            reader.execute(() -> push(task, id, pusher));
        } catch (RejectedExecutionException afterClose) {
            task.fail(sessionClosed());
        }
    }

    /** On the reader's thread. */
    private void push(LiveTask<?> task, long id, PixelPusher pusher) {
        if (task.isDone()) {
            return;
        }
        try {
            SamImage.Held held = pusher.held(task.image, task.bounds, task.viewDownsample, task.growth());
            inActor(() -> {
                if (unanswered.contains(id, task)) {
                    task.readBy(held);
                    stream.send(task.message(client.settings()));
                }
            });
        } catch (RuntimeException | Error failure) {
            task.fail(SamException.of(failure));
        }
    }

    private final class Requests implements LiveConnection.Owner {
        @Override
        public boolean isWaiting() {
            return !unanswered.isEmpty();
        }

        @Override
        public List<LiveRequest> unanswered() {
            return unanswered.ready(client.settings());
        }

        @Override
        public void received(LiveResponse response) {
            if (response.hasNotice()) {
                LiveTask<?> waiting = unanswered.get(response.getRequestId());
                if (waiting != null) {
                    waiting.tell(response.getNotice().getMessage());
                }
                return;
            }
            LiveTask<?> task = unanswered.remove(response.getRequestId());
            if (task == null || task.isDone()) {
                return;
            }
            try {
                if (response.hasError()) {
                    refused(task, response.getError());
                } else if (!task.answer(response)) {
                    unanswered.add(task);
                    prepare(task);
                }
            } catch (RuntimeException unreadable) {
                task.fail(SamException.of(unreadable));
            }
        }

        @Override
        public void gaveUp(SamException failure) {
            unanswered.failAll(failure);
        }
    }

    private void refused(LiveTask<?> task, ErrorInfo error) {
        SamException refusal = client.connection().failures().of(error, null);
        long pause = task.pushInstead(refusal) ? 0 : task.pause(refusal, client.settings());
        if (pause < 0) {
            task.fail(refusal);
            return;
        }
        unanswered.add(task);
        actor.schedule(
                () -> {
                    if (!task.isDone()) {
                        prepare(task);
                    }
                },
                pause,
                TimeUnit.MILLISECONDS);
    }

    /** Whatever ended the task here: the server need not go on with it. */
    private void withdraw(LiveTask<?> task) {
        if (unanswered.remove(task) && task.isReady()) {
            stream.sendIfOpen(LiveRequest.newBuilder()
                    .setRequestId(unanswered.nextId())
                    .setCancelRequestId(task.id())
                    .build());
        }
    }

    private void expire(LiveTask<?> task) {
        long timeout = client.settings().timeout().toMillis();
        long left = stream.away() != null ? timeout : timeout - task.millisSinceSent();
        if (left > 0) {
            watch(task, left);
            return;
        }
        task.fail(new SamException(
                FailureReason.DEADLINE_EXCEEDED,
                client.settings().address() + " did not answer in time; " + FailureReason.DEADLINE_EXCEEDED.advice()));
    }

    private void tell(State state) {
        SamException away = stream.away();
        trouble = switch (state) {
            case CONNECTED -> "";
            case RECONNECTING -> "Waiting for the SAM server \u2026";
            case DISCONNECTED -> away == null ? "" : away.getMessage() + ". Clicks wait for it.";
        };
        stateListener.accept(state);
    }

    private boolean inActor(Runnable step) {
        try {
            actor.execute(step);
            return true;
        } catch (RejectedExecutionException afterClose) {
            return false;
        }
    }

    private static SamException sessionClosed() {
        return new SamException(FailureReason.CANCELLED, "the session is closed; open another");
    }
}
