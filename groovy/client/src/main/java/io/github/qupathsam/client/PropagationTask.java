package io.github.qupathsam.client;

import io.grpc.Context;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.IntFunction;

/**
 * Outlines that are carried through the planes of a stack: from {@link SamClient#propagate}.
 *
 * <p>The outline of one plane is refined on the next, upwards and then downwards; where the server refuses the answer, the object ends.
 */
public final class PropagationTask {
    private final SamClient client;
    private final IntFunction<SamImage> planes;
    private final PlaneRange range;
    private final Map<Object, byte[]> outlines;
    private final PredictOptions options;
    private final RefineOptions refine;
    private final Context.CancellableContext context = Context.ROOT.withCancellation();

    PropagationTask(
            SamClient client,
            IntFunction<SamImage> planes,
            PlaneRange range,
            Map<?, byte[]> outlines,
            PredictOptions options,
            RefineOptions refine) {
        this.client = client;
        this.planes = planes;
        this.range = range;
        this.outlines = new LinkedHashMap<>(outlines);
        this.options = options;
        this.refine = refine;
    }

    /** Ends {@link #run}, which then throws CANCELLED. May come from any thread, also before it has begun. */
    public void cancel() {
        context.cancel(null);
    }

    /**
     * Waits for the outlines of all planes.
     *
     * @param listener is told after each plane, on this thread
     * @throws SamException CANCELLED also where the thread is interrupted
     */
    public Propagation run(Consumer<PlaneProgress> listener) {
        List<Propagation.Found> found = new ArrayList<>();
        List<Propagation.End> ends = new ArrayList<>();
        int done = 0;
        for (List<Integer> way : range.ways()) {
            Map<Object, byte[]> alive = new LinkedHashMap<>(outlines);
            for (int plane : way) {
                Refinement answer = ask(plane, alive);
                for (Refinement.Refined each : answer.refined()) {
                    found.add(new Propagation.Found(each.source(), plane, each.mask(), each.metadata()));
                    alive.put(each.source(), each.mask().wkb());
                }
                for (Map.Entry<Object, String> each : answer.refused().entrySet()) {
                    ends.add(new Propagation.End(each.getKey(), plane, each.getValue()));
                    alive.remove(each.getKey());
                }
                done++;
                listener.accept(new PlaneProgress(done, range.count(), found.size()));
                if (alive.isEmpty()) {
                    break;
                }
            }
        }
        return new Propagation(List.copyOf(found), List.copyOf(ends));
    }

    private Refinement ask(int plane, Map<Object, byte[]> alive) {
        if (!context.isCancelled()) {
            Context before = context.attach();
            try {
                return client.refine(planes.apply(plane), alive, options, refine);
            } catch (SamException failure) {
                if (!context.isCancelled()) {
                    throw failure;
                }
            } finally {
                context.detach(before);
            }
        }
        throw new SamException(FailureReason.CANCELLED, "stopped; nothing has been changed");
    }
}
