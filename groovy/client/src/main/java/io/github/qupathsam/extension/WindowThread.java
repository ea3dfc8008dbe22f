package io.github.qupathsam.extension;

import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import javafx.application.Platform;

/** The thread of QuPath's window, on which a person's keys and clicks are handled: while work runs there, no person changes anything. */
public final class WindowThread {
    private WindowThread() {}

    /**
     * The work's result, once the window's thread has done it.
     *
     * @throws Exception what the work throws
     */
    public static <T> T call(Callable<T> work) throws Exception {
        if (Platform.isFxApplicationThread()) {
            return work.call();
        }
        FutureTask<T> task = new FutureTask<>(work);
        Platform.runLater(task);
        try {
            return task.get();
        } catch (ExecutionException failure) {
            if (failure.getCause() instanceof Exception cause) {
                throw cause;
            }
            throw failure;
        }
    }
}
