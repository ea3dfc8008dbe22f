package io.github.qupathsam.client;

import io.github.qupathsam.v1.ErrorInfo;
import io.github.qupathsam.v1.ImageRef;
import io.github.qupathsam.v1.LiveRequest;
import io.github.qupathsam.v1.LiveResponse;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.BiFunction;
import java.util.function.Consumer;
import java.util.function.Function;

/**
 * The stream that stays open as long as a person clicks.
 *
 * <p>No method blocks. A newer request with the same key cancels the older ones, here and on the server. When the server goes away,
 * what is unanswered is asked again as soon as it is back, until it has waited for {@link Settings#timeout()}. Futures complete on this
 * session's own thread and fail with {@link SamException}.
 */
public final class LiveSession implements AutoCloseable {
    /** Most doublings of the pushed region for an object that runs into its edge. */
    static final int MAX_GROWTH = 2;

    private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(5);
    private static final Duration FIRST_PATIENCE = Duration.ofSeconds(3);
    private static final int MAX_PUSHES = 2;

    /** Whether the server can be reached. */
    public enum State {
        CONNECTED,
        RECONNECTING,
        DISCONNECTED
    }

    private final SamClient client;
    /** All fields below are touched on this thread only. */
    private final ScheduledExecutorService actor =
            Executors.newSingleThreadScheduledExecutor(task -> SamClient.daemon(task, "qupath-sam-live"));
    /** Reading pixels may take seconds; cancelling must not wait for it. */
    private final ScheduledExecutorService reader =
            Executors.newSingleThreadScheduledExecutor(task -> SamClient.daemon(task, "qupath-sam-pixels"));

    private final Map<Long, Task<?>> unanswered = new LinkedHashMap<>();
    private final CompletableFuture<Void> closed = new CompletableFuture<>();
    private volatile Consumer<State> stateListener = state -> {};
    private StreamObserver<LiveRequest> stream;
    private Backoff reconnecting;
    private boolean waitingToConnect;
    private long lastId;
    private int generation;

    LiveSession(SamClient client) {
        this.client = client;
    }

    /** Told, on this session's thread, when the server comes and goes. */
    public void onState(Consumer<State> listener) {
        stateListener = listener;
    }

    /**
     * The outline of one object.
     *
     * @param key a newer request with the same key cancels this one; empty never
     */
    public CompletableFuture<SamPrediction> predict(
            SamImage image, Prompts prompts, PredictOptions options, String key) {
        Settings settings = client.settings();
        return start(new Task<>(
                image,
                prompts.bounds(),
                options.viewDownsample(),
                key,
                (id, ref) -> LiveRequest.newBuilder()
                        .setRequestId(id)
                        .setSupersedesKey(key)
                        .setPredict(Messages.predict(ref, List.of(prompts), options, settings))
                        .build(),
                response -> Messages.prediction(response.getPredict())));
    }

    /** An object that a person clicks together; every change is shown to the listener, on any thread. */
    public ClickSession clicks(SamImage image, PredictOptions options, Consumer<ClickSession.View> listener) {
        return new ClickSession(this, image, options, listener);
    }

    /**
     * Asks for the windows in view to be encoded in the background, so that the first click finds them ready.
     *
     * @param view level-0 px
     * @param focus where the pointer is, level-0 px; null takes the middle
     */
    public CompletableFuture<List<EmbeddedWindow>> embed(
            SamImage image, PixelRegion view, Point focus, PredictOptions options) {
        Settings settings = client.settings();
        Bounds seen = focus != null ? Bounds.of(focus) : Bounds.of(view.bounds().centre());
        return start(new Task<>(
                image,
                seen,
                options.viewDownsample(),
                "view",
                (id, ref) -> LiveRequest.newBuilder()
                        .setRequestId(id)
                        .setEmbed(Messages.embed(ref, view, focus, options, settings))
                        .build(),
                response -> Messages.windows(response.getEmbed())));
    }

    /** Cancels what is unanswered. */
    @Override
    public void close() {
        if (closed.complete(null)) {
            actor.execute(() -> {
                failAll(sessionClosed());
                dropStream();
                actor.shutdown();
            });
            reader.shutdownNow();
        }
    }

    /** Whether an outline runs into an edge of the pushed pixels beyond which the image goes on. */
    static boolean isCut(SamPrediction answer, SamImage.Held held, SamImage image) {
        return answer.results().stream()
                .map(SamResult::best)
                .anyMatch(mask ->
                        mask != null && held.plan().cuts(Wkb.bounds(mask.wkb()), image.width(), image.height()));
    }

    /** One request until it is answered, however often it has to be sent. */
    private final class Task<T> {
        final SamImage image;
        final Bounds bounds;
        final double viewDownsample;
        final String key;
        final BiFunction<Long, ImageRef, LiveRequest> message;
        final Function<LiveResponse, T> reading;
        final CompletableFuture<T> future = new CompletableFuture<>();
        final Backoff patience = new Backoff(client.settings().patience());
        long id;
        SamImage.Held held;
        ImageRef ref;
        int pushes;
        int growth;

        Task(
                SamImage image,
                Bounds bounds,
                double viewDownsample,
                String key,
                BiFunction<Long, ImageRef, LiveRequest> message,
                Function<LiveResponse, T> reading) {
            this.image = image;
            this.bounds = bounds;
            this.viewDownsample = viewDownsample;
            this.key = key;
            this.message = message;
            this.reading = reading;
        }

        /** Takes the answer; false where the same must be asked again with more of the image. */
        boolean answer(LiveResponse response) {
            T value = reading.apply(response);
            if (value instanceof SamPrediction prediction
                    && held != null
                    && growth < MAX_GROWTH
                    && isCut(prediction, held, image)) {
                growth++;
                return false;
            }
            future.complete(value);
            return true;
        }
    }

    private <T> CompletableFuture<T> start(Task<T> task) {
        Duration timeout = client.settings().timeout();
        task.future.whenComplete((value, failure) -> {
            if (task.future.isCancelled()) {
                inActor(() -> withdraw(task));
            }
        });
        boolean taken = inActor(() -> {
            if (closed.isDone()) {
                task.future.completeExceptionally(sessionClosed());
                return;
            }
            supersede(task.key);
            enlist(task);
            prepare(task);
            actor.schedule(() -> expire(task), timeout.toMillis(), TimeUnit.MILLISECONDS);
        });
        if (!taken) {
            task.future.completeExceptionally(sessionClosed());
        }
        return task.future;
    }

    private static SamException sessionClosed() {
        return new SamException(FailureReason.CANCELLED, "the session is closed; open another");
    }

    private boolean inActor(Runnable step) {
        try {
            actor.execute(step);
            return true;
        } catch (RejectedExecutionException afterClose) {
            return false;
        }
    }

    private void enlist(Task<?> task) {
        task.id = ++lastId;
        task.ref = null;
        unanswered.put(task.id, task);
    }

    /** Finds out how to name the image, then sends. */
    private void prepare(Task<?> task) {
        if (!task.image.isPushing()) {
            task.held = null;
            task.ref = task.image.slideRef();
            send(task);
            return;
        }
        long id = task.id;
        try {
            reader.execute(() -> {
                if (!task.future.isDone()) {
                    pushFor(task, id);
                }
            });
        } catch (RejectedExecutionException afterClose) {
            task.future.completeExceptionally(sessionClosed());
        }
    }

    private void pushFor(Task<?> task, long id) {
        try {
            SamImage.Held held = client.pusher().held(task.image, task.bounds, task.viewDownsample, task.growth);
            inActor(() -> {
                if (unanswered.get(id) == task) {
                    task.held = held;
                    task.ref = SamImage.pushedRef(held);
                    send(task);
                }
            });
        } catch (RuntimeException failure) {
            inActor(() -> fail(task, SamException.of(failure)));
        }
    }

    private void send(Task<?> task) {
        if (stream != null) {
            stream.onNext(task.message.apply(task.id, task.ref));
        } else if (!waitingToConnect) {
            connect();
        }
    }

    /** Opens a stream and sends on it all that is unanswered and ready; tries again later where nobody answers. */
    private void connect() {
        if (stream != null || closed.isDone()) {
            return;
        }
        if (unanswered.isEmpty()) {
            reconnecting = null;
            return;
        }
        try {
            client.checkVersion(CONNECT_TIMEOUT);
        } catch (SamException failure) {
            lost(failure);
            return;
        }
        client.resetConnectBackoff();
        int own = ++generation;
        stream = client.stub().live(new StreamObserver<>() {
            @Override
            public void onNext(LiveResponse response) {
                inActor(() -> received(response, own));
            }

            @Override
            public void onError(Throwable failure) {
                inActor(() -> ended(client.failures().of(failure), own));
            }

            @Override
            public void onCompleted() {
                inActor(() -> ended(new SamException(FailureReason.UNREACHABLE, "the server has ended the stream"), own));
            }
        });
        for (Task<?> task : List.copyOf(unanswered.values())) {
            if (task.ref != null) {
                stream.onNext(task.message.apply(task.id, task.ref));
            }
        }
    }

    private void ended(SamException failure, int of) {
        if (of == generation && stream != null) {
            stream = null;
            lost(failure);
        }
    }

    private void lost(SamException failure) {
        boolean hopeless = switch (failure.reason()) {
            case UNAUTHENTICATED, WRONG_VERSION, BAD_CERTIFICATE, TOO_LARGE -> true;
            default -> false;
        };
        if (hopeless) {
            giveUp(failure);
            return;
        }
        if (unanswered.isEmpty()) {
            stateListener.accept(State.DISCONNECTED);
            return;
        }
        if (reconnecting == null) {
            reconnecting = new Backoff(client.hasAnswered() ? client.settings().timeout() : FIRST_PATIENCE);
        }
        long wait = reconnecting.nextMillis();
        if (wait < 0) {
            giveUp(failure);
        } else {
            stateListener.accept(State.RECONNECTING);
            waitingToConnect = true;
            actor.schedule(
                    () -> {
                        waitingToConnect = false;
                        connect();
                    },
                    wait,
                    TimeUnit.MILLISECONDS);
        }
    }

    private void giveUp(SamException failure) {
        reconnecting = null;
        stateListener.accept(State.DISCONNECTED);
        failAll(failure);
    }

    private void received(LiveResponse response, int of) {
        if (of != generation) {
            return;
        }
        reconnecting = null;
        stateListener.accept(State.CONNECTED);
        Task<?> task = unanswered.remove(response.getRequestId());
        if (task == null || task.future.isDone()) {
            return;
        }
        if (response.hasError()) {
            refused(task, response.getError());
        } else if (!task.answer(response)) {
            enlist(task);
            prepare(task);
        }
    }

    private void refused(Task<?> task, ErrorInfo error) {
        SamException failure = client.failures().of(error, null);
        if (failure.reason().wantsPixels() && task.image.canPush() && task.pushes++ < MAX_PUSHES) {
            if (failure.reason() == FailureReason.PIXELS_MISSING) {
                task.image.forgetHeld();
            }
            task.image.startPushing();
            enlist(task);
            prepare(task);
            return;
        }
        long wait = failure.reason() == FailureReason.BUSY ? task.patience.nextMillis() : -1;
        if (wait < 0) {
            task.future.completeExceptionally(failure);
            return;
        }
        enlist(task);
        actor.schedule(
                () -> {
                    if (!task.future.isDone()) {
                        prepare(task);
                    }
                },
                wait,
                TimeUnit.MILLISECONDS);
    }

    private void supersede(String key) {
        if (!key.isEmpty()) {
            for (Task<?> older : List.copyOf(unanswered.values())) {
                if (older.key.equals(key)) {
                    unanswered.remove(older.id);
                    older.future.completeExceptionally(
                            new SamException(FailureReason.CANCELLED, "a newer request has replaced this one"));
                }
            }
        }
    }

    private void withdraw(Task<?> task) {
        if (unanswered.remove(task.id) != null && stream != null && task.ref != null) {
            stream.onNext(LiveRequest.newBuilder()
                    .setRequestId(++lastId)
                    .setCancelRequestId(task.id)
                    .build());
        }
    }

    private void expire(Task<?> task) {
        if (!task.future.isDone()) {
            withdraw(task);
            task.future.completeExceptionally(new SamException(
                    FailureReason.DEADLINE_EXCEEDED,
                    client.settings().address() + " did not answer in time; " + FailureReason.DEADLINE_EXCEEDED.advice()));
        }
    }

    private void fail(Task<?> task, SamException failure) {
        unanswered.remove(task.id);
        task.future.completeExceptionally(failure);
    }

    private void failAll(SamException failure) {
        List<Task<?>> all = List.copyOf(unanswered.values());
        unanswered.clear();
        all.forEach(task -> task.future.completeExceptionally(failure));
    }

    private void dropStream() {
        if (stream != null) {
            generation++;
            stream.onCompleted();
            stream = null;
        }
    }
}
