package io.github.qupathsam.client;

import java.util.concurrent.Callable;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A script that a person runs once: an error is one sentence, in the window in a dialog. Its stack trace goes to the log, at level debug. */
public final class ScriptRun {
    private static final Logger LOG = LoggerFactory.getLogger(ScriptRun.class);

    private ScriptRun() {}

    /** A report of work that has changed nothing in the image: there is no step of undo for it. */
    public record Unchanged(String report) {
        @Override
        public String toString() {
            return report;
        }
    }

    /** The report, marked where the work has changed nothing. */
    public static Object report(Object report, boolean hasChanged) {
        return hasChanged ? report.toString() : new Unchanged(report.toString());
    }

    /**
     * Does the work and prints its report.
     *
     * @param headless without a window: a failure ends the script, so that the command line's exit code tells of it
     * @param say prints a line
     * @param show shows a sentence to a person; not called without a window
     * @param work gives its report, {@link Unchanged} where it changed nothing
     * @return whether the work came to its end and has changed the image
     * @throws ScriptStopped without a window, where anything failed
     */
    public static boolean of(boolean headless, Consumer<String> say, Consumer<String> show, Callable<?> work) {
        try {
            Object report = work.call();
            say.accept("qupath-sam: " + report);
            return !(report instanceof Unchanged);
        } catch (Throwable failure) {
            String text = told(failure);
            say.accept("qupath-sam: " + text);
            if (headless) {
                throw new ScriptStopped(text);
            }
            show.accept(text);
            return false;
        }
    }

    /** The sentence for a person; the stack trace is in the log from here on, at level debug. */
    public static String told(Throwable failure) {
        if (failure instanceof InterruptedException) {
            Thread.currentThread().interrupt(); // the person ends all of the script
        }
        LOG.debug("qupath-sam", failure);
        return FailureText.of(failure);
    }
}
