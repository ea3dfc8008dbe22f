package io.github.qupathsam.extension;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

class WindowThreadTest {
    private final AtomicInteger written = new AtomicInteger();

    /** A person is told that the script is stopped and may be run again: what was written later would be there twice. */
    @Test
    void whatIsStoppedBeforeItHasBegunIsNeverDone() {
        Deque<Runnable> later = new ArrayDeque<>();
        Thread.currentThread().interrupt();
        assertThrows(InterruptedException.class, () -> WindowThread.call(written::incrementAndGet, later::add));
        later.remove().run();
        assertEquals(0, written.get());
    }

    @Test
    void whatHasBegunIsDoneAndReported() throws Exception {
        Thread.currentThread().interrupt();
        assertEquals(1, WindowThread.call(written::incrementAndGet, Runnable::run));
        assertTrue(Thread.interrupted(), "what follows in the script stops");
    }

    @Test
    void aFaultOfTheWorkIsItsOwn() {
        IllegalStateException closed = new IllegalStateException("Open it.");
        assertEquals(closed, assertThrows(IllegalStateException.class, () -> WindowThread.call(() -> { throw closed; }, Runnable::run)));
    }
}
