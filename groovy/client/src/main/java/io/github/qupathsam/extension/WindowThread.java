package io.github.qupathsam.extension;

import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.FutureTask;
import java.util.concurrent.atomic.AtomicBoolean;
import javafx.application.Platform;

/** The thread of QuPath's window, on which a person's keys and clicks are handled: while work runs there, no person changes anything. */
public final class WindowThread {
    private WindowThread() {}

    /**
     * The work's result, once the window's thread has done it.
     *
     * @throws InterruptedException where the caller is interrupted before the work has begun: then it is never done. Once it has begun,
     *     its result is waited for and returned, and the caller's thread stays interrupted
     * @throws Exception what the work throws
     */
    public static <T> T call(Callable<T> work) throws Exception {
        return Platform.isFxApplicationThread() ? work.call() : call(work, Platform::runLater);
    }

    static <T> T call(Callable<T> work, Executor window) throws Exception {
        AtomicBoolean isDecided = new AtomicBoolean(); // it is done, or given up
        FutureTask<T> task = new FutureTask<>(work);
        window.execute(() -> {
            if (isDecided.compareAndSet(false, true)) {
                task.run();
            }
        });
        boolean interrupted = false;
        try {
            while (true) {
                try {
                    return task.get();
                } catch (InterruptedException stopped) {
                    if (isDecided.compareAndSet(false, true)) {
                        throw stopped;
                    }
                    interrupted = true;
                }
            }
        } catch (ExecutionException failure) {
            if (failure.getCause() instanceof Exception cause) {
                throw cause;
            }
            throw failure;
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }
}
