package io.github.qupathsam.client;

/**
 * Makes a failed run over a project end with a non-zero exit.
 *
 * <p>{@code QuPath script --project} logs what a script throws, goes on with the next image, and ends with exit 0 whatever happened.
 */
public final class ProjectRun {
    private static final int FAILED = 1;
    private static boolean marked;

    private ProjectRun() {}

    /** From now on this process ends with exit 1, after all other images have been run and saved. */
    public static synchronized void markFailed() {
        if (!marked) {
            marked = true;
            // By the time hooks run QuPath has saved everything; exit() would wait for ourselves.
            Runtime.getRuntime().addShutdownHook(new Thread(() -> Runtime.getRuntime().halt(FAILED), "qupath-sam-exit"));
        }
    }
}
