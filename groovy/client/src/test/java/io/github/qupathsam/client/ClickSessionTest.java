package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** One object after another, clicked against the Python server with its fake model. */
class ClickSessionTest {
    private static final PredictOptions OPTIONS = PredictOptions.of(Map.of("downsample", 1));

    @TempDir
    static Path folder;

    private static RealServer server;
    private final BlockingQueue<ClickView> views = new LinkedBlockingQueue<>();
    private SamClient client;
    private LiveSession live;
    private SamImage image;
    private ClickSession session;

    @BeforeAll
    static void start() throws Exception {
        server = RealServer.start();
    }

    @AfterAll
    static void stop() {
        if (server != null) {
            server.close();
        }
    }

    @BeforeEach
    void open() throws Exception {
        client = server.client();
        live = client.live();
        image = Pictures.onDisk(folder);
        session = live.clicks(image, OPTIONS, views::add);
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
        return SamException.of(assertThrows(Exception.class, () -> soon(future))).reason();
    }

    /** Waits until the listener has been shown such a view. */
    private ClickView seen(Predicate<ClickView> wanted) throws InterruptedException {
        while (true) {
            ClickView view = views.poll(180, TimeUnit.SECONDS);
            assertNotNull(view, "never shown");
            if (wanted.test(view)) {
                return view;
            }
        }
    }

    @Test
    void clicksRefineUndoAndKeep() throws Exception {
        session.click(380.5, 260.5, true, 1);
        assertTrue(seen(ClickView::working).clicks().size() == 1);
        SamMask one = seen(view -> view.mask() != null).mask();
        session.click(395.5, 260.5, false, 1);
        SamMask two = seen(view -> !view.working() && view.clicks().size() == 2).mask();
        assertTrue(two.areaPx2() < one.areaPx2());
        assertTrue(session.undo());
        ClickView undone = seen(view -> view.clicks().size() == 1);
        assertArrayEquals(one.wkb(), undone.mask().wkb());
        assertFalse(undone.working(), "an outline that is known was asked for again");
        KeptOutline kept = soon(session.keep());
        assertArrayEquals(one.wkb(), kept.mask().wkb());
        assertEquals("fake", kept.metadata().get("qupath-sam.model"));
        assertEquals("+380.5,260.5", kept.metadata().get("qupath-sam.clicks"));
        assertTrue(session.isEmpty());
    }

    @Test
    void keepingWaitsForTheLastClick() throws Exception {
        session.click(380.5, 260.5, true, 1);
        session.click(390.5, 260.5, true, 1);
        KeptOutline kept = soon(session.keep());
        assertEquals(2, kept.clicks().size());
        SamMask whole = client.predict(image, Prompts.click(380.5, 260.5).add(390.5, 260.5), OPTIONS.withViewDownsample(1))
                .single()
                .best();
        assertArrayEquals(whole.wkb(), kept.mask().wkb(), "click by click is another answer than all at once");
    }

    @Test
    void droppingLeavesNothing() throws Exception {
        session.click(380.5, 260.5, true, 1);
        CompletableFuture<KeptOutline> kept = session.keep();
        session.drop();
        assertTrue(session.isEmpty() && kept.isDone());
        assertFalse(session.undo());
        assertNull(session.view().mask());
        assertEquals(FailureReason.INVALID_REQUEST, failure(session.keep()));
    }

    @Test
    void takingAwayFromNothingIsExplained() {
        session.click(1, 1, false, 1);
        assertTrue(session.isEmpty());
        assertTrue(session.view().message().contains("first"));
    }

    @Test
    void whatIsLeftAndNotKeptIsForgotten() throws Exception {
        session.click(380.5, 260.5, true, 1);
        session.leave();
        assertTrue(session.isEmpty());
        assertFalse(session.isBeingKept());
    }

    @Test
    void aDoubleClickOnAnOutlineKeepsItWithoutThatClick() throws Exception {
        session.click(380.5, 260.5, true, 1);
        byte[] one = seen(view -> view.mask() != null).mask().wkb();
        session.click(430.5, 290.5, true, 1);
        KeptOutline kept = soon(session.keepAfterDoubleClick());
        assertEquals(1, kept.clicks().size());
        assertArrayEquals(one, kept.mask().wkb());
        assertEquals("kept Tumour of 1 click", kept.report("Tumour"));
    }

    @Test
    void aDoubleClickOnNothingSelectsAndKeeps() throws Exception {
        session.click(380.5, 260.5, true, 1);
        assertEquals(1, soon(session.keepAfterDoubleClick()).clicks().size());
    }

    @Test
    void aFailureIsShownAndTheObjectGoesOn() throws Exception {
        ClickSession wrong = live.clicks(image, PredictOptions.of(Map.of("model", "nosuch")), views::add);
        wrong.click(380.5, 260.5, true, 1);
        ClickView told = seen(view -> !view.working() && !view.message().isEmpty());
        assertTrue(told.message().contains("nosuch"), told.message());
        assertEquals(told.message(), told.text("Waiting"));
        assertEquals(FailureReason.INVALID_REQUEST, failure(wrong.keep()));
        assertFalse(wrong.isEmpty());
    }

    @Test
    void aBoxAndAScribbleAreOneObject() throws Exception {
        session.box(PixelBox.between(460, 320, 300, 200), 1);
        ClickView boxed = seen(view -> view.mask() != null);
        assertEquals(new PixelBox(300, 200, 460, 320), boxed.box());
        session.scribble(java.util.List.of(new Point(340.5, 240.5), new Point(420.5, 280.5)), true, 1);
        seen(view -> !view.working() && view.clicks().size() == 1);
        KeptOutline kept = soon(session.keep());
        assertEquals("300.0,200.0,460.0,320.0", kept.metadata().get("qupath-sam.box"));
        assertTrue(kept.metadata().get("qupath-sam.clicks").startsWith("+340.5,240.5;"), kept.metadata().toString());
        assertEquals("kept Gland of a box and 1 click", kept.report("Gland"));
        Click stroke = kept.clicks().get(0);
        SamMask whole = client.predict(
                        image,
                        Prompts.box(300, 200, 460, 320).with(stroke),
                        OPTIONS.withViewDownsample(1))
                .single()
                .best();
        assertArrayEquals(whole.wkb(), kept.mask().wkb(), "step by step is another answer than all at once");
    }

    @Test
    void aBoxDrawnLaterComesFirst() throws Exception {
        session.click(380.5, 260.5, true, 1);
        seen(view -> view.mask() != null);
        session.box(PixelBox.between(300, 200, 460, 320), 1);
        KeptOutline kept = soon(session.keep());
        SamMask whole = client.predict(
                        image,
                        Prompts.box(300, 200, 460, 320).add(380.5, 260.5),
                        OPTIONS.withViewDownsample(1))
                .single()
                .best();
        assertArrayEquals(whole.wkb(), kept.mask().wkb());
    }

    @Test
    void anAmbiguousClickHasSeveralOutlinesToChooseFrom() throws Exception {
        ClickSession ambiguous =
                live.clicks(image, PredictOptions.of(Map.of("downsample", 1, "choice", "all")), views::add);
        ambiguous.click(380.5, 260.5, true, 1);
        ClickView first = seen(view -> view.mask() != null);
        assertTrue(first.choices() > 1, "the fake model offers several");
        assertTrue(first.label().contains("1 of " + first.choices()), first.label());
        assertTrue(ambiguous.next());
        ClickView second = seen(view -> view.choice() == 1);
        KeptOutline kept = soon(ambiguous.keep());
        assertArrayEquals(second.mask().wkb(), kept.mask().wkb());
        assertEquals("2 of " + first.choices(), kept.metadata().get("qupath-sam.choice"));
        session.click(380.5, 260.5, true, 1);
        seen(view -> view.choices() == 1);
        assertFalse(session.next());
    }

    @Test
    void whoWaitsForAServerThatIsAwayIsTold() {
        ClickView waiting = new ClickView(null, java.util.List.of(Click.at(1, 1, true)), null, 0, 0, true, "");
        assertEquals("Waiting", waiting.text("Waiting"));
        assertEquals("", waiting.text(""));
        ClickView answered = new ClickView(null, java.util.List.of(Click.at(1, 1, true)), null, 0, 0, false, "");
        assertEquals("", answered.text("Waiting"), "nobody waits");
    }
}
