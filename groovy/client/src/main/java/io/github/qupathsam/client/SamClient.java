package io.github.qupathsam.client;

import io.github.qupathsam.v1.DescribeImageRequest;
import io.github.qupathsam.v1.GetCapabilitiesRequest;
import io.github.qupathsam.v1.ImageRef;
import io.github.qupathsam.v1.ListModelsRequest;
import io.github.qupathsam.v1.PushPixelsRequest;
import io.github.qupathsam.v1.PushPixelsResponse;
import io.github.qupathsam.v1.SegmentationServiceGrpc;
import io.github.qupathsam.v1.SegmentationServiceGrpc.SegmentationServiceBlockingStub;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

/**
 * A connection to a qupath-sam server.
 *
 * <p>Every call blocks, has a deadline ({@link Settings#timeout()}), is cancelled when its thread is interrupted, is repeated while the
 * server is away or busy ({@link Settings#patience()}), and fails with {@link SamException}. Safe to use from several threads.
 */
public final class SamClient implements AutoCloseable {
    /** Version of the protocol's meaning that this client knows. */
    static final int PROTOCOL_VERSION = 1;
    /** Patience with a server that has never answered: it is probably not there. */
    private static final Duration FIRST_PATIENCE = Duration.ofSeconds(2);

    private final Settings settings;
    private final Failures failures;
    private final ManagedChannel channel;
    private final PixelPusher pusher;
    private final ExecutorService executor = Executors.newCachedThreadPool(task -> daemon(task, "qupath-sam-call"));
    private volatile Capabilities capabilities;

    private SamClient(Settings settings) {
        this.settings = settings;
        this.failures = new Failures(settings);
        this.channel = Channels.open(settings);
        this.pusher = new PixelPusher(settings, this::push);
    }

    /** With the settings of this machine and user. Nothing is sent yet. */
    public static SamClient connect() {
        return connect(Settings.load());
    }

    /** With these settings above all others: {@code SamClient.connect(host: 'gpu1', token: '...')}. */
    public static SamClient connect(Map<String, ?> overrides) {
        return connect(Settings.load(overrides));
    }

    public static SamClient connect(Settings settings) {
        return new SamClient(settings);
    }

    public Settings settings() {
        return settings;
    }

    /**
     * What the server is and allows; asked once.
     *
     * @throws SamException WRONG_VERSION where it speaks another version of the protocol
     */
    public Capabilities capabilities() {
        Capabilities known = capabilities;
        return known != null ? known : checked(retrying(this::askCapabilities));
    }

    /** The models that a call may name, the server's default first. */
    public List<SamModel> models() {
        capabilities();
        return retrying(stub -> stub.listModels(ListModelsRequest.getDefaultInstance())).getModelsList().stream()
                .map(Messages::model)
                .toList();
    }

    /** Whether the server reads this image itself; if not, calls push its pixels from now on. */
    public boolean seesSlide(SamImage image) {
        capabilities();
        try {
            retrying(stub -> stub.describeImage(
                    DescribeImageRequest.newBuilder().setImage(image.slideRef()).build()));
            return true;
        } catch (SamException failure) {
            if (!failure.reason().wantsPixels()) {
                throw failure;
            }
            image.startPushing();
            return false;
        }
    }

    /** The outline of one object. */
    public SamPrediction predict(SamImage image, Prompts prompts, PredictOptions options) {
        return predict(image, List.of(prompts), options);
    }

    /** The outlines of independent objects of one image, in order. Pushes pixels where the server cannot read the slide. */
    public SamPrediction predict(SamImage image, List<Prompts> objects, PredictOptions options) {
        if (objects.isEmpty()) {
            throw new SamException(FailureReason.INVALID_PROMPT, "there are no objects to segment; give at least one");
        }
        int most = Math.max(1, capabilities().maxObjects());
        if (!capabilities().readsSlides() && image.canPush()) {
            image.startPushing();
        }
        List<SamPrediction> parts = new ArrayList<>();
        for (int from = 0; from < objects.size(); from += most) {
            parts.add(predictPart(image, objects.subList(from, Math.min(objects.size(), from + most)), options));
        }
        return joined(parts);
    }

    /** As {@link #predict}, on a thread of its own; cancelling the future cancels the call on the server. */
    public CompletableFuture<SamPrediction> predictAsync(SamImage image, List<Prompts> objects, PredictOptions options) {
        Context.CancellableContext call = Context.ROOT.withCancellation();
        CompletableFuture<SamPrediction> future = new CompletableFuture<>();
        future.whenComplete((answer, failure) -> call.cancel(failure));
        executor.execute(call.wrap(() -> {
            try {
                future.complete(predict(image, objects, options));
            } catch (RuntimeException failure) {
                future.completeExceptionally(failure);
            }
        }));
        return future;
    }

    /** A stream for a person who clicks. Nothing is sent yet. */
    public LiveSession live() {
        return new LiveSession(this);
    }

    /** Ends calls that are under way. */
    @Override
    public void close() {
        executor.shutdownNow();
        channel.shutdownNow();
    }

    SegmentationServiceGrpc.SegmentationServiceStub stub() {
        return SegmentationServiceGrpc.newStub(channel);
    }

    Failures failures() {
        return failures;
    }

    PixelPusher pusher() {
        return pusher;
    }

    /** One attempt to learn what the server is, for callers that repeat by themselves. */
    void checkVersion(Duration timeout) {
        if (capabilities == null) {
            channel.resetConnectBackoff();
            try {
                checked(askCapabilities(blocking(timeout)));
            } catch (StatusRuntimeException failure) {
                throw failures.of(failure);
            }
        }
    }

    boolean hasAnswered() {
        return capabilities != null;
    }

    void resetConnectBackoff() {
        channel.resetConnectBackoff();
    }

    static Thread daemon(Runnable task, String name) {
        Thread thread = new Thread(task, name);
        thread.setDaemon(true);
        return thread;
    }

    private SamPrediction predictPart(SamImage image, List<Prompts> objects, PredictOptions options) {
        if (!image.isPushing()) {
            try {
                return ask(image.slideRef(), objects, options);
            } catch (SamException failure) {
                if (!failure.reason().wantsPixels() || !image.canPush()) {
                    throw failure;
                }
                image.startPushing();
            }
        }
        List<SamPrediction> parts = new ArrayList<>();
        for (Prompts prompts : objects) {
            parts.add(predictPushed(image, prompts, options));
        }
        return joined(parts);
    }

    /** One object by pushed pixels: again with more of the image while its outline runs into the edge of what was pushed. */
    private SamPrediction predictPushed(SamImage image, Prompts prompts, PredictOptions options) {
        for (int coarser = 0; ; coarser++) {
            SamImage.Held held = pusher.held(image, prompts.bounds(), options.viewDownsample(), coarser);
            SamPrediction answer;
            try {
                answer = ask(SamImage.pushedRef(held), List.of(prompts), options);
            } catch (SamException failure) {
                if (failure.reason() != FailureReason.PIXELS_MISSING) {
                    throw failure;
                }
                image.forgetHeld();
                held = pusher.held(image, prompts.bounds(), options.viewDownsample(), coarser);
                answer = ask(SamImage.pushedRef(held), List.of(prompts), options);
            }
            if (coarser >= LiveSession.MAX_GROWTH || !LiveSession.isCut(answer, held, image)) {
                return answer;
            }
        }
    }

    private SamPrediction ask(ImageRef image, List<Prompts> objects, PredictOptions options) {
        return Messages.prediction(
                retrying(stub -> stub.predict(Messages.predict(image, objects, options, settings))));
    }

    private PushPixelsResponse push(PushPixelsRequest request) {
        long most = hasAnswered() ? capabilities.maxMessageBytes() : Channels.MAX_MESSAGE_BYTES;
        if (most > 0 && request.getSerializedSize() > most) {
            throw new SamException(
                    FailureReason.TOO_LARGE,
                    request.getSerializedSize() + " bytes of pixels are more than the " + most + " that the server takes; "
                            + FailureReason.TOO_LARGE.advice());
        }
        return retrying(stub -> stub.pushPixels(request));
    }

    private Capabilities askCapabilities(SegmentationServiceBlockingStub stub) {
        return Messages.capabilities(stub.getCapabilities(GetCapabilitiesRequest.getDefaultInstance()));
    }

    private Capabilities checked(Capabilities answer) {
        if (answer.protocolVersion() != PROTOCOL_VERSION) {
            throw new SamException(
                    FailureReason.WRONG_VERSION,
                    "the server at " + settings.address() + " (" + answer.serverVersion() + ") speaks protocol "
                            + answer.protocolVersion() + ", this client " + PROTOCOL_VERSION + "; "
                            + FailureReason.WRONG_VERSION.advice());
        }
        capabilities = answer;
        return answer;
    }

    private SegmentationServiceBlockingStub blocking(Duration timeout) {
        return SegmentationServiceGrpc.newBlockingStub(channel)
                .withDeadlineAfter(timeout.toMillis(), TimeUnit.MILLISECONDS);
    }

    private <T> T retrying(Function<SegmentationServiceBlockingStub, T> call) {
        Backoff backoff = new Backoff(hasAnswered() ? settings.patience() : FIRST_PATIENCE);
        while (true) {
            SamException failure;
            try {
                return call.apply(blocking(settings.timeout()));
            } catch (StatusRuntimeException status) {
                failure = failures.of(status);
            }
            long wait = failure.reason().passes() ? backoff.nextMillis() : -1;
            if (wait < 0) {
                throw failure;
            }
            try {
                Thread.sleep(wait);
            } catch (InterruptedException stopped) {
                Thread.currentThread().interrupt();
                throw new SamException(FailureReason.CANCELLED, "stopped while waiting for the server", stopped);
            }
            channel.resetConnectBackoff();
        }
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
