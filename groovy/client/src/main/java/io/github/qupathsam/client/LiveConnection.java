package io.github.qupathsam.client;

import io.github.qupathsam.v1.LiveRequest;
import io.github.qupathsam.v1.LiveResponse;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/**
 * The stream under a {@link LiveSession}: opened when there is something to send, and again when the server comes back.
 *
 * <p>Used, and calls its owner, on one thread only. Nothing here blocks.
 */
final class LiveConnection {
    private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(5);
    private static final Duration FIRST_PATIENCE = Duration.ofSeconds(3);

    /** Knows what has been asked and not been answered. */
    interface Owner {
        boolean isWaiting();

        /** Everything unanswered that can be sent, in order: a new stream knows nothing of it. */
        List<LiveRequest> unanswered();

        void received(LiveResponse response);

        /** The server will never take us. */
        void gaveUp(SamException failure);
    }

    private final Connection connection;
    private final ScheduledExecutorService thread;
    private final Owner owner;
    private final Consumer<LiveSession.State> stateListener;
    private LiveSession.State state;
    private ClientCallStreamObserver<LiveRequest> stream;
    private Backoff reconnecting;
    private SamException away;
    private boolean opening;
    private int generation;

    LiveConnection(
            Connection connection,
            ScheduledExecutorService thread,
            Owner owner,
            Consumer<LiveSession.State> stateListener) {
        this.connection = connection;
        this.thread = thread;
        this.owner = owner;
        this.stateListener = stateListener;
    }

    /** Sends one of the owner's unanswered requests, now or with the others as soon as there is a stream. */
    void send(LiveRequest request) {
        if (stream != null) {
            stream.onNext(request);
        } else {
            connect();
        }
    }

    /** Sends what only this stream's server can care for. */
    void sendIfOpen(LiveRequest request) {
        if (stream != null) {
            stream.onNext(request);
        }
    }

    /** Why there is no server at the moment; null while it can be reached, or nothing is known of it. */
    SamException away() {
        return away;
    }

    /** Ends the stream; the server drops what is under way on it. */
    void close() {
        generation++;
        if (stream != null) {
            stream.cancel("the session is closed", null);
            stream = null;
        }
    }

    private void connect() {
        if (opening) {
            return;
        }
        opening = true;
        // Whatever has come up at that address since last time may be of another version.
        connection.ask(CONNECT_TIMEOUT).whenComplete((server, failure) -> onThread(() -> {
            opening = false;
            if (failure != null) {
                lost(SamException.of(failure));
            } else {
                away = null;
                reconnecting = null;
                if (owner.isWaiting()) {
                    open();
                }
            }
        }));
    }

    private void open() {
        int own = ++generation;
        stream = connection.live(new StreamObserver<>() {
            @Override
            public void onNext(LiveResponse response) {
                onThread(() -> received(response, own));
            }

            @Override
            public void onError(Throwable failure) {
                onThread(() -> ended(connection.failures().of(failure), own));
            }

            @Override
            public void onCompleted() {
                SamException gone = new SamException(FailureReason.UNREACHABLE, "the server has ended the stream");
                onThread(() -> ended(gone, own));
            }
        });
        owner.unanswered().forEach(stream::onNext);
    }

    private void received(LiveResponse response, int of) {
        if (of == generation) {
            reconnecting = null;
            away = null;
            tell(LiveSession.State.CONNECTED);
            owner.received(response);
        }
    }

    private void ended(SamException failure, int of) {
        if (of == generation && stream != null) {
            stream = null;
            lost(failure);
        }
    }

    /** Dials again as long as a caller waits: a server that is being started now is there in a minute, or in an hour. */
    private void lost(SamException failure) {
        if (isHopeless(failure.reason())) {
            giveUp(failure);
            return;
        }
        away = failure;
        if (!owner.isWaiting()) {
            reconnecting = null;
            tell(LiveSession.State.DISCONNECTED);
            return;
        }
        if (reconnecting == null) {
            Settings settings = connection.settings();
            reconnecting = new Backoff(connection.hasAnswered() ? settings.patience() : FIRST_PATIENCE);
        }
        long wait = reconnecting.nextMillis();
        tell(wait < 0 ? LiveSession.State.DISCONNECTED : LiveSession.State.RECONNECTING);
        opening = true;
        thread.schedule(this::reconnect, wait < 0 ? Backoff.LONGEST_MS : wait, TimeUnit.MILLISECONDS);
    }

    private void reconnect() {
        opening = false;
        if (owner.isWaiting()) {
            connect();
        } else {
            reconnecting = null;
        }
    }

    private void giveUp(SamException failure) {
        reconnecting = null;
        tell(LiveSession.State.DISCONNECTED);
        owner.gaveUp(failure);
    }

    /** Whether trying again cannot help before a person has changed something. */
    private static boolean isHopeless(FailureReason reason) {
        return switch (reason) {
            case UNAUTHENTICATED, WRONG_VERSION, BAD_CERTIFICATE, TOO_LARGE -> true;
            default -> false;
        };
    }

    private void tell(LiveSession.State now) {
        if (now != state) {
            state = now;
            stateListener.accept(now);
        }
    }

    private void onThread(Runnable step) {
        try {
            thread.execute(step);
        } catch (RejectedExecutionException afterClose) {
            // Nobody waits any more.
        }
    }
}
