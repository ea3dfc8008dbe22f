package io.github.qupathsam.client;

import com.google.protobuf.ByteString;
import io.github.qupathsam.v1.ImageRef;
import io.github.qupathsam.v1.RegionObject;
import io.github.qupathsam.v1.SegmentRegionRequest;
import io.github.qupathsam.v1.SegmentRegionResponse;
import io.grpc.Context;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.function.Consumer;

/**
 * The work on all objects of a region: from {@link SamClient#region}.
 *
 * <p>Where the server goes away, or is busy, it goes on from the last token, for as long as {@link Settings#patience()} says.
 */
public final class RegionTask {
    private final Connection connection;
    private final PixelPusher pusher;
    private final SamImage image;
    private final Bounds bounds;
    private final SegmentRegionRequest request;
    private final double downsample;
    private final Context.CancellableContext context = Context.ROOT.withCancellation();
    private final List<RegionAnswer.Found> found = new ArrayList<>();
    /** From where to go on, and how many objects had come by then. */
    private ByteString token = ByteString.EMPTY;
    private int foundAtToken;
    private Provenance provenance;
    private RegionProgress progress = new RegionProgress(0, 0, 0, 0, 0, Double.NaN);

    /** @param downsample at which pixels are pushed where the server cannot read the slide */
    RegionTask(
            Connection connection,
            PixelPusher pusher,
            SamImage image,
            Bounds bounds,
            SegmentRegionRequest request,
            double downsample) {
        this.connection = connection;
        this.pusher = pusher;
        this.image = image;
        this.bounds = bounds;
        this.request = request;
        this.downsample = downsample;
    }

    /** Ends {@link #run}, which then throws CANCELLED. May come from any thread, also before it has begun. */
    public void cancel() {
        context.cancel(null);
    }

    /**
     * Waits for all objects.
     *
     * @param listener called after each tile, on this thread
     * @throws SamException CANCELLED also where the thread is interrupted
     */
    public RegionAnswer run(Consumer<RegionProgress> listener) {
        Backoff backoff = null;
        while (true) {
            int tiles = progress.tilesDone();
            SamException failure;
            try {
                connection.capabilities();
                Context before = context.attach();
                try {
                    receive(listener);
                } finally {
                    context.detach(before);
                }
                return new RegionAnswer(List.copyOf(found), provenance, progress);
            } catch (RuntimeException failed) {
                failure = connection.failures().of(failed);
            }
            if (context.isCancelled()) {
                throw new SamException(FailureReason.CANCELLED, "stopped; nothing has been changed", failure);
            }
            if (failure.reason().wantsPixels() && image.canPush() && (!image.isPushing() || failure.reason() == FailureReason.PIXELS_MISSING)) {
                image.forgetHeld();
                image.startPushing();
                restart();
                continue;
            }
            if (backoff == null || progress.tilesDone() > tiles) {
                backoff = new Backoff(connection.settings().patience());
            }
            long wait = failure.reason().passes() ? backoff.nextMillis() : -1;
            if (wait < 0) {
                throw failure;
            }
            Connection.sleep(wait);
        }
    }

    private void receive(Consumer<RegionProgress> listener) {
        // What came after the token comes again.
        found.subList(foundAtToken, found.size()).clear();
        ImageRef ref = image.isPushing() ? SamImage.pushedRef(pusher.whole(image, bounds, downsample)) : image.slideRef();
        Iterator<SegmentRegionResponse> answers = connection.segmentRegion(
                request.toBuilder().setImage(ref).setResumeToken(token).build());
        while (answers.hasNext()) {
            SegmentRegionResponse answer = answers.next();
            if (answer.hasProvenance()) {
                provenance = Messages.provenance(answer.getProvenance());
            }
            for (RegionObject object : answer.getObjectsList()) {
                found.add(Messages.found(object));
            }
            progress = Messages.progress(answer.getProgress());
            if (!answer.getResumeToken().isEmpty()) {
                token = answer.getResumeToken();
                foundAtToken = found.size();
            }
            listener.accept(progress);
        }
    }

    private void restart() {
        token = ByteString.EMPTY;
        foundAtToken = 0;
    }
}
