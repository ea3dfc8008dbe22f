package io.github.qupathsam.client;

import io.github.qupathsam.v1.GetCapabilitiesRequest;
import io.github.qupathsam.v1.GetCapabilitiesResponse;
import io.github.qupathsam.v1.LiveRequest;
import io.github.qupathsam.v1.LiveResponse;
import io.github.qupathsam.v1.SegmentRegionRequest;
import io.github.qupathsam.v1.SegmentRegionResponse;
import io.github.qupathsam.v1.SegmentationServiceGrpc;
import io.github.qupathsam.v1.SegmentationServiceGrpc.SegmentationServiceBlockingStub;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.Iterator;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

/** The channel to a server, what the server has said it is, and calls that are repeated while it is away or busy. */
final class Connection implements AutoCloseable {
    /** Version of the protocol's meaning that this client knows. */
    static final int PROTOCOL_VERSION = 1;

    /** Patience with a server that has never answered: it is probably not there. */
    private static final Duration FIRST_PATIENCE = Duration.ofSeconds(2);
    /** Saying what it is takes a server no time: one that needs longer is not there, or behind a wall. */
    private static final Duration FIRST_TIMEOUT = Duration.ofSeconds(15);

    private final Settings settings;
    private final Failures failures;
    private final ManagedChannel channel;
    private volatile Capabilities capabilities;
    private volatile boolean answered;
    private volatile boolean closed;

    /** Nothing is sent yet. */
    Connection(Settings settings) {
        this.settings = settings;
        this.failures = new Failures(settings);
        this.channel = Channels.open(settings);
    }

    Settings settings() {
        return settings;
    }

    Failures failures() {
        return failures;
    }

    /** Whether the server has ever answered. */
    boolean hasAnswered() {
        return answered;
    }

    /** What the server is; asked once, and again after it was away: another may have come up in its place. */
    Capabilities capabilities() {
        Capabilities known = capabilities;
        if (known != null) {
            return known;
        }
        Duration timeout = settings.timeout().compareTo(FIRST_TIMEOUT) < 0 ? settings.timeout() : FIRST_TIMEOUT;
        try {
            return checked(call(stub -> stub.withDeadlineAfter(timeout.toMillis(), TimeUnit.MILLISECONDS)
                    .getCapabilities(GetCapabilitiesRequest.getDefaultInstance())));
        } catch (SamException failure) {
            throw silence(failure);
        }
    }

    /** The largest message that the server takes, bytes. */
    long maxMessageBytes() {
        Capabilities known = capabilities;
        return known != null && known.maxMessageBytes() > 0 ? known.maxMessageBytes() : Channels.MAX_MESSAGE_BYTES;
    }

    /** Asks what the server is, once and without blocking; fails with SamException. */
    CompletableFuture<Capabilities> ask(Duration timeout) {
        CompletableFuture<Capabilities> answer = new CompletableFuture<>();
        // gRPC waits longer and longer before it dials again; the caller has waited already.
        channel.resetConnectBackoff();
        SegmentationServiceGrpc.newStub(channel)
                .withDeadlineAfter(timeout.toMillis(), TimeUnit.MILLISECONDS)
                .getCapabilities(GetCapabilitiesRequest.getDefaultInstance(), new StreamObserver<>() {
                    @Override
                    public void onNext(GetCapabilitiesResponse response) {
                        try {
                            answer.complete(checked(response));
                        } catch (SamException wrongVersion) {
                            answer.completeExceptionally(wrongVersion);
                        }
                    }

                    @Override
                    public void onError(Throwable failure) {
                        answer.completeExceptionally(silence(failures.of(failure)));
                    }

                    @Override
                    public void onCompleted() {}
                });
        return answer;
    }

    /** Opens a Live stream; it stays open until one side ends it. */
    ClientCallStreamObserver<LiveRequest> live(StreamObserver<LiveResponse> answers) {
        return (ClientCallStreamObserver<LiveRequest>)
                SegmentationServiceGrpc.newStub(channel).live(answers);
    }

    /** All objects of a region, as they come; without a deadline, but the caller's context can cancel it. */
    Iterator<SegmentRegionResponse> segmentRegion(SegmentRegionRequest request) {
        channel.resetConnectBackoff();
        return SegmentationServiceGrpc.newBlockingStub(channel).segmentRegion(request);
    }

    /**
     * A call that blocks until it is answered, repeated while the server is away or busy.
     *
     * @throws SamException also where the thread is interrupted
     */
    <T> T call(Function<SegmentationServiceBlockingStub, T> call) {
        Backoff backoff = new Backoff(answered ? settings.patience() : FIRST_PATIENCE);
        Backoff starting = new Backoff(settings.timeout()); // it is there, and says that it will be ready
        while (true) {
            SamException failure;
            try {
                T answer = call.apply(SegmentationServiceGrpc.newBlockingStub(channel)
                        .withDeadlineAfter(settings.timeout().toMillis(), TimeUnit.MILLISECONDS));
                answered = true;
                return answer;
            } catch (StatusRuntimeException status) {
                failure = failures.of(status);
            }
            if (closed) {
                throw new SamException(FailureReason.CANCELLED, "the connection was closed; open another", failure);
            }
            if (failure.reason() == FailureReason.UNREACHABLE) {
                capabilities = null;
            }
            Backoff pause = failure.reason() == FailureReason.STARTING ? starting : backoff;
            long wait = failure.reason().passes() ? pause.nextMillis() : -1;
            if (wait < 0) {
                throw failure;
            }
            sleep(wait);
            channel.resetConnectBackoff();
        }
    }

    /** Ends calls that are under way. */
    @Override
    public void close() {
        closed = true;
        channel.shutdownNow();
    }

    /** A program listens and does not answer the simplest question: no server of ours. */
    private SamException silence(SamException failure) {
        return failure.reason() != FailureReason.DEADLINE_EXCEEDED
                ? failure
                : new SamException(
                        FailureReason.UNREACHABLE,
                        "what listens at " + settings.address() + " does not say what it is; "
                                + FailureReason.UNREACHABLE.advice(),
                        failure);
    }

    private Capabilities checked(GetCapabilitiesResponse response) {
        Capabilities answer = Messages.capabilities(response);
        answered = true;
        if (answer.protocolVersion() != PROTOCOL_VERSION) {
            capabilities = null;
            throw new SamException(
                    FailureReason.WRONG_VERSION,
                    "the server at " + settings.address() + " (" + answer.serverVersion() + ") speaks protocol "
                            + answer.protocolVersion() + ", this client " + PROTOCOL_VERSION + "; "
                            + FailureReason.WRONG_VERSION.advice());
        }
        capabilities = answer;
        return answer;
    }

    static void sleep(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException stopped) {
            Thread.currentThread().interrupt();
            throw new SamException(FailureReason.CANCELLED, "stopped while waiting for the server", stopped);
        }
    }
}
