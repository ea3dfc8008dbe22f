package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.ServerSocket;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Clicking against the Python server with its fake model. */
class LiveSessionTest {
    private static final PredictOptions OPTIONS = PredictOptions.of(Map.of("downsample", 1));

    @TempDir
    static Path folder;

    private static RealServer server;
    private SamClient client;
    private LiveSession live;
    private SamImage image;

    @BeforeAll
    static void start() throws Exception {
        server = RealServer.plain();
    }

    @BeforeEach
    void open() throws Exception {
        client = server.client();
        live = client.live();
        image = Pictures.onDisk(folder);
    }

    @AfterEach
    void close() {
        live.close();
        client.close();
    }

    private static <T> T soon(CompletableFuture<T> future) throws Exception {
        return future.get(180, TimeUnit.SECONDS);
    }

    private static FailureReason failure(CompletableFuture<?> future) {
        return SamException.of(assertThrows(ExecutionException.class, () -> future.get(180, TimeUnit.SECONDS))).reason();
    }

    @Test
    void aClickIsAnsweredAsTheUnaryCallIs() throws Exception {
        Prompts prompts = Prompts.click(380.5, 260.5);
        SamPrediction answer = soon(live.predict(image, prompts, OPTIONS, "click"));
        assertArrayEquals(client.predict(image, prompts, OPTIONS).single().best().wkb(), answer.single().best().wkb());
    }

    @Test
    void onlyTheNewestClickIsAnswered() throws Exception {
        List<CompletableFuture<SamPrediction>> clicks = new java.util.ArrayList<>();
        for (int i = 0; i < 20; i++) {
            clicks.add(live.predict(image, Prompts.click(300.5 + i, 260.5), OPTIONS, "click"));
        }
        assertNotNull(soon(clicks.get(19)).single().best());
        for (CompletableFuture<SamPrediction> older : clicks.subList(0, 19)) {
            assertTrue(older.isDone());
        }
        assertTrue(clicks.stream().filter(CompletableFuture::isCompletedExceptionally).count() > 0);
    }

    @Test
    void requestsOfDifferentKeysDoNotReplaceEachOther() throws Exception {
        CompletableFuture<SamPrediction> one = live.predict(image, Prompts.click(380.5, 260.5), OPTIONS, "one");
        CompletableFuture<SamPrediction> two = live.predict(image, Prompts.click(640.5, 460.5), OPTIONS, "two");
        assertNotNull(soon(one).single().best());
        assertNotNull(soon(two).single().best());
    }

    @Test
    void anErrorEndsItsRequestAndNotTheStream() throws Exception {
        assertEquals(
                FailureReason.UNKNOWN_MODEL,
                failure(live.predict(image, Prompts.click(9, 9), PredictOptions.of(Map.of("model", "nosuch")), "click")));
        assertNotNull(soon(live.predict(image, Prompts.click(380.5, 260.5), OPTIONS, "click")));
    }

    @Test
    void windowsInViewAreEmbeddedAhead() throws Exception {
        List<EmbeddedWindow> windows = soon(live.embed(
                image, new PixelRegion(0, 0, Pictures.WIDTH, Pictures.HEIGHT), new Point(380, 260), PredictOptions.none()));
        assertFalse(windows.isEmpty());
    }

    @Test
    void hiddenSlidesArePushed() throws Exception {
        AtomicInteger reads = new AtomicInteger();
        SamImage hidden =
                Pictures.pushable(SamImage.ofPath(folder.resolve("x.svs"), Pictures.WIDTH, Pictures.HEIGHT), reads);
        SamPrediction pushed = soon(live.predict(hidden, Prompts.click(380.5, 260.5), OPTIONS, "click"));
        soon(live.predict(hidden, Prompts.click(400.5, 260.5), OPTIONS, "click"));
        assertEquals(1, reads.get());
        SamPrediction seen = soon(live.predict(image, Prompts.click(380.5, 260.5), OPTIONS, "click"));
        assertArrayEquals(seen.single().best().wkb(), pushed.single().best().wkb());
    }

    @Test
    void aClosedSessionSaysSo() throws Exception {
        soon(live.predict(image, Prompts.click(380.5, 260.5), OPTIONS, "click"));
        live.close();
        assertEquals(FailureReason.CANCELLED, failure(live.predict(image, Prompts.click(1, 1), OPTIONS, "click")));
    }

    /** On 0.1.0 a click before the server was up failed after three seconds, for good. */
    @Test
    void aClickBeforeThereIsAServerIsAnsweredWhenItIsThere() throws Exception {
        int nobody;
        try (ServerSocket socket = new ServerSocket(0)) {
            nobody = socket.getLocalPort();
        }
        try (SamClient early = SamClient.connect(Map.of("port", nobody, "timeout", 180));
                LiveSession session = early.live()) {
            BlockingQueue<LiveSession.State> states = new LinkedBlockingQueue<>();
            session.onState(states::add);
            CompletableFuture<SamPrediction> click = session.predict(image, Prompts.click(380.5, 260.5), OPTIONS, "click");
            LiveSession.State state = states.poll(180, TimeUnit.SECONDS);
            while (state != LiveSession.State.DISCONNECTED) {
                state = states.poll(180, TimeUnit.SECONDS);
                assertNotNull(state, "never told that there is no server");
            }
            assertFalse(click.isDone());
            assertTrue(session.trouble().contains("no server answers at 127.0.0.1:" + nobody), session.trouble());
            assertTrue(session.trouble().contains("qupath-sam serve"), session.trouble());
            try (RealServer late = RealServer.startWith("fake", nobody)) {
                assertNotNull(soon(click).single().best());
                assertEquals("", session.trouble());
            }
        }
    }

    @Test
    void aRestartOfTheServerIsSurvived() throws Exception {
        RealServer first = RealServer.start();
        AtomicInteger reads = new AtomicInteger();
        SamImage hidden =
                Pictures.pushable(SamImage.ofPath(folder.resolve("x.svs"), Pictures.WIDTH, Pictures.HEIGHT), reads);
        try (SamClient other = first.client();
                LiveSession session = other.live()) {
            BlockingQueue<LiveSession.State> states = new LinkedBlockingQueue<>();
            session.onState(states::add);
            Prompts click = Prompts.click(380.5, 260.5);
            SamResult before = soon(session.predict(image, click, OPTIONS, "click")).single();
            soon(session.predict(hidden, click, OPTIONS, "click"));
            first.kill();
            CompletableFuture<SamPrediction> onDisk =
                    session.predict(image, click.remove(400.5, 270.5).continuing(before.token()), OPTIONS, "a");
            CompletableFuture<SamPrediction> pushed = session.predict(hidden, click, OPTIONS, "b");
            for (LiveSession.State state = states.poll(180, TimeUnit.SECONDS);
                    state != LiveSession.State.RECONNECTING;
                    state = states.poll(180, TimeUnit.SECONDS)) {
                assertNotNull(state, "never told that the server is away");
            }
            try (RealServer second = RealServer.startWith("fake", first.port())) {
                assertNotNull(soon(onDisk).single().best());
                assertArrayEquals(before.best().wkb(), soon(pushed).single().best().wkb());
                assertEquals(2, reads.get(), "dropped pixels were not pushed again");
            }
        } finally {
            first.close();
        }
    }
}
