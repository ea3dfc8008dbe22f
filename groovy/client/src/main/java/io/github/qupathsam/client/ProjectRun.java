package io.github.qupathsam.client;

import java.util.concurrent.Callable;
import java.util.function.Consumer;

/**
 * A script that is run for every image of a project.
 *
 * <p>{@code QuPath script --project} logs what a script throws, goes on with the next image, and ends with exit 0 whatever happened.
 */
public final class ProjectRun {
    private static final int FAILED = 1;
    /** Images of one run follow each other faster than a person starts another run. */
    private static final long PAUSE_NS = 10_000_000_000L;

    private static boolean marked;
    private static String lastReason = "";
    private static long lastFailure;

    private ProjectRun() {}

    /**
     * Does one image's work and says what came of it.
     *
     * @param image its name
     * @param headless without a window: a failure makes this process end with exit 1, after all other images have been run and saved
     * @param say prints a line
     * @param show shows a sentence to a person, without waiting for an answer; not called without a window, nor twice in a row with the
     *     same reason: the next image fails as this one did
     * @param work gives its report
     * @throws ScriptStopped where anything failed; the stack trace is in the log, at level debug
     */
    public static void image(String image, boolean headless, Consumer<String> say, Consumer<String> show, Callable<String> work) {
        try {
            say.accept("qupath-sam: " + image + ": " + work.call());
        } catch (Throwable failure) {
            String reason = ScriptRun.told(failure);
            String text = image + ": FAILED: " + reason;
            say.accept("qupath-sam: " + text);
            if (headless) {
                markFailed();
            } else if (isNew(reason)) {
                show.accept(text);
            }
            throw new ScriptStopped(reason);
        }
    }

    /** Whether a failure is another one than that of the image before, or of another run. */
    private static synchronized boolean isNew(String reason) {
        long now = System.nanoTime();
        boolean isNew = !reason.equals(lastReason) || now - lastFailure > PAUSE_NS;
        lastReason = reason;
        lastFailure = now;
        return isNew;
    }

    private static synchronized void markFailed() {
        if (!marked) {
            marked = true;
            // By the time hooks run QuPath has saved everything; exit() would wait for ourselves.
            Runtime.getRuntime().addShutdownHook(new Thread(() -> Runtime.getRuntime().halt(FAILED), "qupath-sam-exit"));
        }
    }
}
