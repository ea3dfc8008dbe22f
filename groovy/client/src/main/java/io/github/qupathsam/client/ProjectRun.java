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
    private static boolean marked;

    private ProjectRun() {}

    /**
     * Does one image's work and says what came of it.
     *
     * @param image its name
     * @param headless without a window: a failure makes this process end with exit 1, after all other images have been run and saved
     * @param say prints a line
     * @param work gives its report
     * @throws ScriptStopped where something failed that a person can put right
     * @throws Exception what else the work throws, once the user has seen the message
     */
    public static void image(String image, boolean headless, Consumer<String> say, Callable<String> work) throws Exception {
        try {
            say.accept("qupath-sam: " + image + ": " + work.call());
        } catch (Throwable failure) {
            say.accept("qupath-sam: " + image + ": FAILED: " + told(failure));
            if (headless) {
                markFailed();
            }
            if (failure instanceof SamException || failure instanceof IllegalStateException) {
                throw new ScriptStopped(told(failure));
            }
            throw failure;
        }
    }

    private static String told(Throwable failure) {
        return failure.getMessage() == null ? failure.toString() : failure.getMessage();
    }

    private static synchronized void markFailed() {
        if (!marked) {
            marked = true;
            // By the time hooks run QuPath has saved everything; exit() would wait for ourselves.
            Runtime.getRuntime().addShutdownHook(new Thread(() -> Runtime.getRuntime().halt(FAILED), "qupath-sam-exit"));
        }
    }
}
