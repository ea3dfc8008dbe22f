package io.github.qupathsam.client;

import io.github.qupathsam.v1.DescribeImageRequest;
import io.github.qupathsam.v1.ListModelsRequest;
import io.grpc.Context;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.function.IntFunction;

/**
 * A connection to a qupath-sam server.
 *
 * <p>Every call blocks, has a deadline ({@link Settings#timeout()}), is cancelled when its thread is interrupted, is repeated while the
 * server is away or busy ({@link Settings#patience()}), and fails with {@link SamException}. Safe to use from several threads.
 */
public final class SamClient implements AutoCloseable {
    /** At which the server looks at regions by default, um per px. */
    private static final double TILE_MPP = 0.25;

    private final Connection connection;
    private final PixelPusher pusher;
    private final PredictCalls predictions;
    private final ExecutorService executor = Executors.newCachedThreadPool(task -> daemon(task, "qupath-sam-call"));

    private SamClient(Settings settings) {
        this.connection = new Connection(settings);
        this.pusher = new PixelPusher(connection);
        this.predictions = new PredictCalls(connection, pusher);
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
        return connection.settings();
    }

    /**
     * What the server is and allows.
     *
     * @throws SamException WRONG_VERSION where it speaks another version of the protocol
     */
    public Capabilities capabilities() {
        return connection.capabilities();
    }

    /** The models that a call may name, the server's default first. */
    public List<SamModel> models() {
        capabilities();
        return connection.call(stub -> stub.listModels(ListModelsRequest.getDefaultInstance())).getModelsList().stream()
                .map(Messages::model)
                .toList();
    }

    /** What a person wants to know of the server: where and what it is, and its models. */
    public String description() {
        Capabilities server = capabilities();
        StringBuilder text = new StringBuilder()
                .append("qupath-sam ").append(server.serverVersion()).append(" at ").append(settings())
                .append(", on ").append(server.device()).append("\n\nModels there:");
        List<SamModel> models = models().stream().filter(model -> !model.name().equals("fake")).toList();
        for (SamModel model : models) {
            if (model.available()) {
                String mark = model.name().equals(server.defaultModel()) ? " (the default)" : "";
                text.append("\n  ").append(model.name()).append(mark).append(": ").append(model.title());
                text.append("\n    ").append(model.licence());
            }
        }
        List<String> absent =
                models.stream().filter(model -> !model.available()).map(SamModel::name).toList();
        if (!absent.isEmpty()) {
            text.append("\n\nTo be pulled: ").append(String.join(", ", absent));
        }
        return text.toString();
    }

    /** Whether the server reads this image itself; if not, calls push its pixels from now on. */
    public boolean seesSlide(SamImage image) {
        capabilities();
        try {
            connection.call(stub -> stub.describeImage(
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
        return predictions.predict(image, objects, options);
    }

    /** The outlines that drawn shapes ask for ({@link PromptGroup} shares them out among objects). */
    public Segmentation segment(SamImage image, List<PromptShape> shapes, PredictOptions options) {
        List<PromptGroup> groups = PromptGroup.of(shapes);
        return Segmentation.of(groups, predict(image, groups.stream().map(PromptGroup::prompts).toList(), options));
    }

    /**
     * Better outlines for objects that have one. The server makes the prompts and judges the answers, as for `qupath-sam project refine`.
     *
     * @param outlines objects (the caller's own) and their outlines, as {@link Outlines#wkb} writes them
     */
    public Refinement refine(SamImage image, Map<?, byte[]> outlines, PredictOptions options, RefineOptions refine) {
        if (outlines.isEmpty()) {
            return new Refinement(List.of(), Map.of());
        }
        List<Prompts> prompts = outlines.values().stream().map(Prompts::outline).toList();
        return Refinement.of(List.copyOf(outlines.keySet()), predictions.refine(image, prompts, options, refine));
    }

    /** The whole answer to outlines that are to be refined, with the tokens that the next plane of a stack goes on from. */
    SamPrediction refined(SamImage image, List<Prompts> outlines, PredictOptions options, RefineOptions refine) {
        return predictions.refine(image, outlines, options, refine);
    }

    /**
     * Outlines carried from their plane through others, plane by plane; {@link PropagationTask#run} does the work.
     *
     * @param planes the image at each plane of the range
     * @param outlines objects (the caller's own) and their outlines on {@code range.at()}, as {@link Outlines#wkb} writes them
     * @param refine what the outline of a plane has to fulfil beside that of the plane before
     */
    public PropagationTask propagate(
            IntFunction<SamImage> planes, PlaneRange range, Map<?, byte[]> outlines, PredictOptions options, RefineOptions refine) {
        return new PropagationTask(this, planes, range, outlines, options, refine);
    }

    /**
     * All objects of a region; {@link RegionTask#run} does the work.
     *
     * @param outline of the region, as {@link Outlines#wkb} writes it; null takes the whole image
     * @param examples that the objects should look like; empty takes all objects
     */
    public RegionTask region(SamImage image, byte[] outline, List<Example> examples, RegionOptions options) {
        Bounds whole = new Bounds(0, 0, image.width(), image.height());
        double mpp = image.slide().getMpp();
        double wanted = options.downsample() > 0 ? options.downsample() : (options.mpp() > 0 ? options.mpp() : TILE_MPP) / (mpp > 0 ? mpp : TILE_MPP);
        return new RegionTask(
                connection,
                pusher,
                image,
                outline == null ? whole : Wkb.bounds(outline),
                Messages.region(outline, examples, options, settings()),
                wanted);
    }

    /** As {@link #predict}, on a thread of its own; cancelling the future cancels the call on the server. */
    public CompletableFuture<SamPrediction> predictAsync(SamImage image, List<Prompts> objects, PredictOptions options) {
        Context.CancellableContext call = Context.ROOT.withCancellation();
        CompletableFuture<SamPrediction> future = new CompletableFuture<>();
        future.whenComplete((answer, failure) -> call.cancel(failure));
        try {
            executor.execute(call.wrap(() -> {
                try {
                    future.complete(predict(image, objects, options));
                } catch (RuntimeException | Error failure) {
                    future.completeExceptionally(failure);
                }
            }));
        } catch (RejectedExecutionException afterClose) {
            future.completeExceptionally(new SamException(FailureReason.CANCELLED, "this client is closed; open another"));
        }
        return future;
    }

    /** A stream for a person who clicks. Nothing is sent yet. */
    public LiveSession live() {
        return new LiveSession(() -> this, client -> {});
    }

    /** Ends calls that are under way. */
    @Override
    public void close() {
        executor.shutdownNow();
        connection.close();
    }

    Connection connection() {
        return connection;
    }

    PixelPusher pusher() {
        return pusher;
    }

    static Thread daemon(Runnable task, String name) {
        Thread thread = new Thread(task, name);
        thread.setDaemon(true);
        return thread;
    }
}
