package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.qupathsam.v1.ErrorReason;
import io.github.qupathsam.v1.LiveRequest;
import io.grpc.StatusRuntimeException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What is asked and withdrawn on a live stream while answers are outstanding. */
class LiveProtocolTest {
    private static final PredictOptions OPTIONS = PredictOptions.none();
    private static final PredictOptions ALL = PredictOptions.of(Map.of("choice", "all"));

    private final SamImage image = SamImage.ofPath(Path.of("slide.svs"), 1000, 1000);
    private ScriptedServer server;
    private SamClient client;
    private LiveSession live;

    @BeforeEach
    void open() throws Exception {
        server = ScriptedServer.start();
        client = server.client(60);
        live = client.live();
    }

    @AfterEach
    void close() throws Exception {
        live.close();
        client.close();
        server.close();
    }

    private static <T> T soon(CompletableFuture<T> future) throws Exception {
        return future.get(30, TimeUnit.SECONDS);
    }

    private static void waitFor(BooleanSupplier condition) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
        while (!condition.getAsBoolean()) {
            assertTrue(System.nanoTime() < end, "never happened");
            Thread.sleep(5);
        }
    }

    private static SamException failure(CompletableFuture<?> future) {
        Exception failure = assertThrows(Exception.class, () -> soon(future));
        assertFalse(failure instanceof TimeoutException, "never completed");
        return SamException.of(failure);
    }

    private CompletableFuture<SamPrediction> predict(double x, String key) {
        return live.predict(image, Prompts.click(x, 5), OPTIONS, key);
    }

    @Test
    void cancellingTellsTheServer() throws Exception {
        CompletableFuture<SamPrediction> answer = predict(5, "");
        LiveRequest asked = server.nextPredict();
        answer.cancel(false);
        assertEquals(asked.getRequestId(), server.next().getCancelRequestId());
    }

    /** The first click waits for no closer look; Tab after its last outline does, and shows what that adds. */
    @Test
    void tabAfterTheLastOutlineAsksForACloserLook() throws Exception {
        ClickSession session = live.clicks(image, ALL, view -> {});
        session.click(100, 5, true, 1);
        LiveRequest first = server.nextPredict();
        assertFalse(first.getPredict().getWindow().getCloserLook());
        assertFalse(session.next(), "there is no outline yet");
        server.answer(first, 1);
        waitFor(() -> !session.view().working());
        assertTrue(session.hasNext());
        assertTrue(session.next());
        LiveRequest closer = server.nextPredict();
        assertTrue(closer.getPredict().getWindow().getCloserLook());
        assertTrue(closer.getPredict().getObjects(0).getToken().isEmpty());
        assertEquals(0, session.view().choice());
        server.answer(closer, 2);
        waitFor(() -> session.view().choices() == 2);
        assertEquals(1, session.view().choice());
        assertTrue(session.next(), "no further look: the first one again");
        assertEquals(0, session.view().choice());
        session.next();
        session.click(110, 5, true, 1);
        LiveRequest second = server.nextPredict();
        assertEquals(1, second.getPredict().getObjects(0).getClicks(1).getFromMask());
        assertTrue(second.getPredict().getWindow().getCloserLook(), "what the token names has been made with it");
        session.drop();
        session.click(120, 5, true, 1);
        assertFalse(server.nextPredict().getPredict().getWindow().getCloserLook(), "another object");
    }

    /** The window of the third outline may have been embedded when the first click came, and no longer be. */
    @Test
    void aServerThatHasForgottenIsToFindTheNamedOutlineAgain() throws Exception {
        ClickSession session = live.clicks(image, ALL, view -> {});
        session.click(100, 5, true, 1);
        server.answer(server.nextPredict(), 3);
        waitFor(() -> session.view().choices() == 3);
        session.next();
        session.next();
        session.click(110, 5, true, 1);
        LiveRequest second = server.nextPredict();
        assertEquals(2, second.getPredict().getObjects(0).getClicks(1).getFromMask());
        assertTrue(second.getPredict().getWindow().getCloserLook());
    }

    @Test
    void aClickEndsACloserLook() throws Exception {
        ClickSession session = live.clicks(image, ALL, view -> {});
        session.click(100, 5, true, 1);
        server.answer(server.nextPredict(), 1);
        waitFor(() -> !session.view().working());
        assertTrue(session.next());
        LiveRequest closer = server.nextPredict();
        session.click(110, 5, true, 1);
        LiveRequest second = server.nextPredict();
        assertEquals("token", second.getPredict().getObjects(0).getToken().toStringUtf8());
        assertFalse(second.getPredict().getWindow().getCloserLook());
        server.answer(closer, 3);
        server.answer(second, 1);
        waitFor(() -> !session.view().working());
        assertEquals(1, session.view().choices());
    }

    /** Before, each was decoded by itself: twenty quick clicks on a busy machine had their outline 24 s after the last. */
    @Test
    void clicksThatWaitAreOneStepAndOutlinesAreShownOnTheWay() throws Exception {
        BlockingQueue<ClickView> views = new LinkedBlockingQueue<>();
        ClickSession session = live.clicks(image, OPTIONS, views::add);
        for (int i = 0; i < 20; i++) {
            session.click(100 + i, 5, i % 2 == 0, 1);
        }
        int steps = 0;
        int answered = 0;
        while (answered < 20) {
            LiveRequest asked = server.nextPredict();
            List<io.github.qupathsam.v1.Click> clicks = asked.getPredict().getObjects(0).getClicksList();
            assertFalse(clicks.get(answered).getSameStep(), "a step begins with the first click that waits");
            for (io.github.qupathsam.v1.Click joined : clicks.subList(answered + 1, clicks.size())) {
                assertTrue(joined.getSameStep(), "decoded by itself, though its outline is of no use to anybody");
            }
            assertEquals(answered == 0 ? "" : "token", asked.getPredict().getObjects(0).getToken().toStringUtf8());
            answered = clicks.size();
            steps++;
            views.clear();
            server.answer(asked);
            ClickView view = views.poll(30, TimeUnit.SECONDS);
            while (view.mask() == null) {
                view = views.poll(30, TimeUnit.SECONDS);
            }
            assertEquals(answered < 20, view.working(), "an outline on the way, and the work that goes on");
        }
        assertTrue(steps <= 8, steps + " decodes of 20 clicks");
        KeptOutline kept = soon(session.keep());
        assertTrue(kept.metadata().get("qupath-sam.clicks").startsWith("+100.0,5.0 -101.0,5.0 &+102.0,5.0"));
    }

    /** With the model auto the first click at another scale loads the other model; for that time a person saw a clock and no word. */
    @Test
    void whatAnAnswerWaitsForIsToldUntilItIsThere() throws Exception {
        BlockingQueue<ClickView> views = new LinkedBlockingQueue<>();
        ClickSession session = live.clicks(image, OPTIONS, views::add);
        session.click(5, 5, true, 8);
        LiveRequest first = server.nextPredict();
        server.notice(first, "The server is loading the model y");
        ClickView view = views.poll(30, TimeUnit.SECONDS);
        while (view.message().isEmpty()) {
            view = views.poll(30, TimeUnit.SECONDS);
        }
        assertEquals("The server is loading the model y", view.text("trouble"));
        assertTrue(view.working());
        session.click(6, 6, true, 8);
        assertEquals("The server is loading the model y", session.view().text(""), "a further click waits for the same");
        views.clear();
        server.answer(first);
        LiveRequest second = server.nextPredict();
        assertEquals("", session.view().message(), "the answer is there");
        server.notice(first, "late");
        server.answer(second);
        ClickView last = views.poll(30, TimeUnit.SECONDS);
        while (last.working()) {
            last = views.poll(30, TimeUnit.SECONDS);
        }
        assertEquals("", last.message());
        assertNotNull(last.mask());
    }

    /** The model auto chooses by the view: another model in the middle of an object would begin it from nothing. */
    @Test
    void theViewOfTheFirstClickHoldsForAllClicksOnTheObject() throws Exception {
        ClickSession session = live.clicks(image, OPTIONS, view -> {});
        session.click(5, 5, true, 8);
        server.answer(server.nextPredict());
        session.click(6, 6, true, 1);
        LiveRequest second = server.nextPredict();
        assertEquals(8, second.getPredict().getWindow().getViewDownsample());
        session.box(new PixelBox(1, 1, 9, 9), 2);
        assertEquals(8, server.nextPredict().getPredict().getWindow().getViewDownsample());
        session.drop();
        session.click(5, 5, true, 1);
        assertEquals(1, server.nextPredict().getPredict().getWindow().getViewDownsample(), "the next object has its own");
    }

    @Test
    void whatTakesTooLongIsWithdrawn() throws Exception {
        try (SamClient hasty = server.client(1);
                LiveSession session = hasty.live()) {
            CompletableFuture<SamPrediction> answer = session.predict(image, Prompts.click(5, 5), OPTIONS, "");
            LiveRequest asked = server.nextPredict();
            SamException failure = failure(answer);
            assertEquals(FailureReason.DEADLINE_EXCEEDED, failure.reason());
            assertTrue(failure.getMessage().endsWith(FailureReason.DEADLINE_EXCEEDED.advice()), failure.getMessage());
            assertEquals(asked.getRequestId(), server.next().getCancelRequestId());
        }
    }

    @Test
    void closingCancelsTheStreamAndEveryFuture() throws Exception {
        CompletableFuture<SamPrediction> answer = predict(5, "");
        server.nextPredict();
        live.close();
        assertEquals(FailureReason.CANCELLED, failure(answer).reason());
        assertInstanceOf(StatusRuntimeException.class, server.streamEnded());
    }

    @Test
    void aBusyServerIsLeftAloneForAWhile() throws Exception {
        CompletableFuture<SamPrediction> answer = predict(5, "");
        server.refuse(server.nextPredict(), ErrorReason.ERROR_REASON_BUSY);
        server.refuse(server.nextPredict(), ErrorReason.ERROR_REASON_BUSY);
        server.answer(server.nextPredict());
        assertNotNull(soon(answer).single().best());
    }

    @Test
    void aNewerClickReplacesOneThatABusyServerHasPutOff() throws Exception {
        CompletableFuture<SamPrediction> older = predict(5, "click");
        server.refuse(server.nextPredict(), ErrorReason.ERROR_REASON_BUSY);
        CompletableFuture<SamPrediction> newer = predict(6, "click");
        assertEquals(FailureReason.CANCELLED, failure(older).reason());
        LiveRequest asked = server.nextPredict();
        while (asked.getPredict().getObjects(0).getClicks(0).getPoints(0).getX() != 6) {
            asked = server.nextPredict();
        }
        server.answer(asked);
        assertNotNull(soon(newer).single().best());
    }

    @Test
    void anAnswerThatIsNoneFailsAtOnce() throws Exception {
        CompletableFuture<SamPrediction> answer = predict(5, "");
        server.answerEmpty(server.nextPredict());
        assertEquals(FailureReason.INTERNAL, failure(answer).reason());
    }

    @Test
    void anotherVersionAfterARestartIsNoticed() throws Exception {
        CompletableFuture<SamPrediction> before = predict(5, "");
        server.answer(server.nextPredict());
        soon(before);
        int port = server.port();
        server.close();
        server = ScriptedServer.start(port, Connection.PROTOCOL_VERSION + 1);
        assertEquals(FailureReason.WRONG_VERSION, failure(predict(6, "")).reason());
    }

    @Test
    void whoWaitsForAServerThatHasGoneIsToldAndGoesOnWaiting() throws Exception {
        try (SamClient hasty = server.client(1);
                LiveSession session = hasty.live()) {
            CompletableFuture<SamPrediction> before = session.predict(image, Prompts.click(5, 5), OPTIONS, "");
            server.answer(server.nextPredict());
            soon(before);
            int port = server.port();
            server.close();
            CompletableFuture<SamPrediction> waiting = session.predict(image, Prompts.click(6, 6), OPTIONS, "");
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
            while (!session.trouble().contains("no server answers") && System.nanoTime() < end) {
                Thread.sleep(50);
            }
            assertTrue(session.trouble().contains("no server answers"), session.trouble());
            assertFalse(waiting.isDone(), "a click was given up after its timeout of 1 s");
            server = ScriptedServer.start(port, Connection.PROTOCOL_VERSION);
            server.answer(server.nextPredict());
            assertNotNull(soon(waiting).single().best());
            assertEquals("", session.trouble());
        }
    }

    /** On 0.1.0 each click withdrew the one before: 20 clicks were answered by one outline, long after the last. */
    @Test
    void manyClicksAreAnsweredOnTheWay() throws Exception {
        BlockingQueue<ClickView> views = new LinkedBlockingQueue<>();
        ClickSession session = live.clicks(image, OPTIONS, views::add);
        for (int i = 0; i < 20; i++) {
            session.click(5 + 30 * i, 5, true, 1);
        }
        CompletableFuture<KeptOutline> kept = session.keep();
        List<Integer> asked = new ArrayList<>();
        while (asked.isEmpty() || asked.get(asked.size() - 1) < 20) {
            LiveRequest request = server.next();
            assertTrue(request.hasPredict(), "a click that is needed anyway was withdrawn");
            var prompts = request.getPredict().getObjects(0);
            assertEquals(asked.isEmpty() ? "" : "token", prompts.getToken().toStringUtf8(), "the last state is not gone on from");
            asked.add(prompts.getClicksCount());
            server.answer(request);
        }
        assertEquals(20, soon(kept).clicks().size());
        assertEquals(List.of(1, 4, 7, 10, 13, 16, 19, 20), asked);
        long shown = views.stream().filter(view -> view.working() && view.mask() != null).count();
        assertTrue(shown >= asked.size() - 1, "outlines on the way: " + shown);
    }

    @Test
    void takingBackAClickThatWaitsLetsTheOthersGoOn() throws Exception {
        ClickSession session = live.clicks(image, OPTIONS, view -> {});
        session.click(5, 5, true, 1);
        LiveRequest first = server.nextPredict();
        session.click(50, 5, true, 1);
        assertTrue(session.undo());
        assertTrue(session.view().working(), "the first click was withdrawn with the second");
        server.answer(first);
        KeptOutline kept = soon(session.keep());
        assertEquals(1, kept.clicks().size());
    }

    @Test
    void anOutlineGoesOnWhereItsImageIsOpenedAnew() throws Exception {
        BlockingQueue<ClickView> views = new LinkedBlockingQueue<>();
        ClickSession session = live.clicks(image, OPTIONS, view -> {});
        session.click(5, 5, true, 1);
        server.answer(server.nextPredict());
        while (session.view().mask() == null) {
            Thread.sleep(10);
        }
        session.resume(SamImage.ofPath(Path.of("opened anew.svs"), 1000, 1000), views::add);
        assertNotNull(views.poll(30, TimeUnit.SECONDS).mask());
        session.click(50, 5, true, 1);
        LiveRequest next = server.nextPredict();
        assertEquals("opened anew.svs", next.getPredict().getImage().getSlide().getPath());
        assertEquals("token", next.getPredict().getObjects(0).getToken().toStringUtf8());
    }

    @Test
    void wrongSettingsAreToldAndCanBeCorrected() throws Exception {
        String name = "qupath.sam.port";
        String before = System.getProperty(name);
        try (LiveSession session = LiveSession.open()) {
            System.setProperty(name, "fifty");
            SamException told = failure(session.predict(image, Prompts.click(5, 5), OPTIONS, ""));
            assertEquals("port must be a whole number from 1 to 65535, got 'fifty'", told.getMessage());
            System.setProperty(name, String.valueOf(server.port()));
            CompletableFuture<SamPrediction> answer = session.predict(image, Prompts.click(5, 5), OPTIONS, "");
            server.answer(server.nextPredict());
            assertNotNull(soon(answer).single().best());
        } finally {
            if (before == null) {
                System.clearProperty(name);
            } else {
                System.setProperty(name, before);
            }
        }
    }

    @Test
    void keepingTwiceKeepsOnce() throws Exception {
        ClickSession session = live.clicks(image, OPTIONS, view -> {});
        session.click(5, 5, true, 1);
        CompletableFuture<KeptOutline> first = session.keep();
        assertTrue(session.isBeingKept());
        assertEquals(FailureReason.CANCELLED, failure(session.keep()).reason());
        server.answer(server.nextPredict());
        assertNotNull(soon(first).mask());
        assertFalse(session.isBeingKept());
    }

    @Test
    void takingBackTheClickTakesBackTheWishToKeep() throws Exception {
        ClickSession session = live.clicks(image, OPTIONS, view -> {});
        session.click(5, 5, true, 1);
        CompletableFuture<KeptOutline> kept = session.keep();
        assertTrue(session.undo());
        assertEquals(FailureReason.CANCELLED, failure(kept).reason());
        session.click(6, 6, true, 1);
        assertFalse(session.isBeingKept(), "kept although nobody wants it any more");
    }

    @Test
    void theNextObjectDoesNotDisturbTheOneThatIsBeingKept() throws Exception {
        ClickSession first = live.clicks(image, OPTIONS, view -> {});
        first.click(5, 5, true, 1);
        LiveRequest firstAsked = server.nextPredict();
        CompletableFuture<KeptOutline> kept = first.keep();
        first.leave();
        ClickSession second = live.clicks(image, OPTIONS, view -> {});
        second.click(100, 100, true, 1);
        LiveRequest secondAsked = server.nextPredict();
        assertFalse(firstAsked.getSupersedesKey().equals(secondAsked.getSupersedesKey()));
        server.answer(firstAsked);
        assertEquals(1, soon(kept).clicks().size());
        server.answer(secondAsked);
        assertEquals(1, soon(second.keep()).clicks().size());
    }

    @Test
    void aClosedClientDoesNotGoOnTrying() throws Exception {
        CompletableFuture<SamPrediction> answer =
                client.predictAsync(image, java.util.List.of(Prompts.click(5, 5)), OPTIONS);
        client.close();
        assertEquals(FailureReason.CANCELLED, failure(answer).reason());
        assertEquals(FailureReason.CANCELLED, assertThrows(SamException.class, client::models).reason());
    }
}
