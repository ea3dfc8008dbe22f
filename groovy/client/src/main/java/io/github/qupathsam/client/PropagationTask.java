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
 * <p>The outline of one plane is refined on the next, upwards and then downwards; where the server refuses the answer, the object ends. A
 * model with a memory of video looks for what it remembers instead: tokens go from plane to plane, whatever the model.
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
            Map<Object, Prompts> alive = way.isEmpty() ? Map.of() : remembered();
            for (int plane : way) {
                SamPrediction answer = ask(plane, alive, refine);
                Map<Object, Prompts> next = new LinkedHashMap<>();
                Map<Object, SamResult> results = byObject(alive, answer);
                Refinement verdict = Refinement.of(List.copyOf(alive.keySet()), answer);
                for (Refinement.Refined each : verdict.refined()) {
                    found.add(new Propagation.Found(each.source(), plane, each.mask(), each.metadata()));
                    byte[] token = results.get(each.source()).token();
                    next.put(each.source(), Prompts.outline(each.mask().wkb()).continuing(token));
                }
                verdict.refused().forEach((source, reason) -> ends.add(new Propagation.End(source, plane, reason)));
                alive = next;
                done++;
                listener.accept(new PlaneProgress(done, range.count(), found.size()));
                if (alive.isEmpty()) {
                    break;
                }
            }
        }
        return new Propagation(List.copyOf(found), List.copyOf(ends));
    }

    /** The outlines of the first plane, with the tokens of what the model remembers of them. */
    private Map<Object, Prompts> remembered() {
        Map<Object, Prompts> given = new LinkedHashMap<>();
        outlines.forEach((source, wkb) -> given.put(source, Prompts.outline(wkb)));
        Map<Object, SamResult> results = byObject(given, ask(range.at(), given, refine.remembering()));
        given.replaceAll((source, prompts) -> prompts.continuing(results.get(source).token()));
        return given;
    }

    private SamPrediction ask(int plane, Map<Object, Prompts> alive, RefineOptions how) {
        if (!context.isCancelled()) {
            Context before = context.attach();
            try {
                return client.refined(planes.apply(plane), List.copyOf(alive.values()), options, how);
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

    private static Map<Object, SamResult> byObject(Map<Object, Prompts> asked, SamPrediction answer) {
        Map<Object, SamResult> results = new LinkedHashMap<>();
        int place = 0;
        for (Object source : asked.keySet()) {
            results.put(source, answer.results().get(place++));
        }
        return results;
    }
}
