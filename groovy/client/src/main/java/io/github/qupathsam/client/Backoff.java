package io.github.qupathsam.client;

import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;

/** How long to wait before each further try: doubled every time, spread at random, and an end to it. */
final class Backoff {
    private static final long FIRST_MS = 100;
    static final long LONGEST_MS = 2000;

    private final long endNanos;
    private long nextMs = FIRST_MS;

    Backoff(Duration budget) {
        this.endNanos = System.nanoTime() + budget.toNanos();
    }

    /** Milliseconds to wait now; -1 when the time is used up. */
    long nextMillis() {
        long leftMs = (endNanos - System.nanoTime()) / 1_000_000;
        if (leftMs <= 0) {
            return -1;
        }
        // Many clients lose one server together; they should not come back together.
        long wait = ThreadLocalRandom.current().nextLong(nextMs / 2, nextMs + 1);
        nextMs = Math.min(2 * nextMs, LONGEST_MS);
        return Math.min(wait, leftMs);
    }
}
