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
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.locationtech.jts.geom.Coordinate;
import org.locationtech.jts.geom.Geometry;

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
        server = RealServer.plain();
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

    /** The dialog of the server opens another connection: every outline that was not yet kept was dropped. */
    @Test
    void anObjectGoesOnWithAnotherConnection() throws Exception {
        session.click(380.5, 260.5, true, 1);
        SamMask one = seen(view -> view.mask() != null && !view.working()).mask();
        try (LiveSession next = client.live()) {
            ClickSession other = next.clicks(image, OPTIONS, view -> {});
            session.moveTo(next);
            live.close();
            assertArrayEquals(one.wkb(), session.view().mask().wkb());
            session.click(395.5, 260.5, false, 1);
            other.click(100.5, 100.5, true, 1);
            SamMask two = seen(view -> !view.working() && view.clicks().size() == 2).mask();
            assertTrue(two.areaPx2() < one.areaPx2());
            assertEquals(2, soon(session.keep()).clicks().size());
        }
    }

    @Test
    void whatIsBeingKeptIsKeptByTheOtherConnection() throws Exception {
        try (LiveSession next = client.live()) {
            session.click(380.5, 260.5, true, 1);
            CompletableFuture<KeptOutline> keeping = session.keep();
            session.moveTo(next);
            live.close();
            assertEquals(1, soon(keeping).clicks().size());
        }
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

    /** On 0.1.0 it went on from the best one, whatever Tab had shown. */
    @Test
    void aClickAfterTabGoesOnFromTheChosenOutline() throws Exception {
        PredictOptions all = PredictOptions.of(Map.of("downsample", 1, "choice", "all"));
        ClickSession ambiguous = live.clicks(image, all, views::add);
        ambiguous.click(380.5, 260.5, true, 1);
        ClickView first = seen(view -> view.mask() != null);
        ambiguous.next();
        ambiguous.next();
        SamMask chosen = seen(view -> view.choice() == 2).mask();
        assertTrue(chosen.areaPx2() > first.mask().areaPx2(), "the fake's third mask is larger");
        ambiguous.click(382.5, 260.5, true, 1);
        SamMask after = seen(view -> !view.working() && view.clicks().size() == 2).mask();
        SamMask best = client.predict(image, Prompts.click(380.5, 260.5).add(382.5, 260.5), all.withViewDownsample(1))
                .single()
                .best();
        assertTrue(after.areaPx2() > best.areaPx2() * 1.2, after.areaPx2() + " against " + best.areaPx2());
        assertTrue(ambiguous.undo());
        assertArrayEquals(chosen.wkb(), ambiguous.view().mask().wkb(), "taking back shows what had been chosen");
        ambiguous.click(382.5, 260.5, true, 1);
        KeptOutline kept = soon(ambiguous.keep());
        assertArrayEquals(after.wkb(), kept.mask().wkb());
        assertEquals("+380.5,260.5 +382.5,260.5@" + chosen.index(), kept.metadata().get("qupath-sam.clicks"));
    }

    @Test
    void aBoxAfterAChoiceForgetsIt() throws Exception {
        ClickSession ambiguous =
                live.clicks(image, PredictOptions.of(Map.of("downsample", 1, "choice", "all")), views::add);
        ambiguous.click(380.5, 260.5, true, 1);
        seen(view -> view.mask() != null);
        ambiguous.next();
        ambiguous.click(382.5, 260.5, true, 1);
        seen(view -> !view.working() && view.clicks().size() == 2);
        ambiguous.box(PixelBox.between(300, 200, 460, 320), 1);
        KeptOutline kept = soon(ambiguous.keep());
        assertEquals("+380.5,260.5 +382.5,260.5", kept.metadata().get("qupath-sam.clicks"));
    }

    @Test
    void anOutlineIsMadeWiderByWholePixels() throws Exception {
        assertFalse(session.grow(1), "there is none yet");
        session.click(380.5, 260.5, true, 1);
        SamMask before = seen(view -> view.mask() != null).mask();
        assertTrue(session.grow(2));
        ClickView wider = seen(view -> view.grown() == 2);
        Geometry expected = Outlines.of(before.wkb()).buffer(2);
        Geometry grown = Outlines.of(wider.mask().wkb());
        assertTrue(grown.buffer(1e-9).covers(expected), "not 2 px wider everywhere");
        assertEquals(grown.getArea(), wider.mask().areaPx2(), 1e-6);
        for (Coordinate place : grown.getCoordinates()) {
            assertEquals(Math.rint(place.x), place.x, "off the pixel edges");
        }
        assertTrue(wider.label().contains("+2 px"), wider.label());
        assertTrue(session.grow(-1));
        assertFalse(session.grow(-100000), "nothing would be left");
        assertEquals(1, session.view().grown());
        session.click(395.5, 260.5, true, 1);
        seen(view -> !view.working() && view.clicks().size() == 2 && view.grown() == 1);
        KeptOutline kept = soon(session.keep());
        assertEquals("1 px", kept.metadata().get("qupath-sam.grown"));
        assertEquals(0, session.view().grown(), "the next object begins as the model sees it");
    }

    @Test
    void anOutlineThatIsThereIsRefined() throws Exception {
        byte[] old = PromptsTest.wkb("POLYGON ((300 200, 460 200, 460 320, 300 320, 300 200))");
        session.refine("gland 1", old, Click.at(440.5, 260.5, false), 1);
        SamMask without = seen(view -> !view.working() && view.mask() != null).mask();
        assertEquals("gland 1", session.source());
        assertFalse(Outlines.of(without.wkb()).contains(Outlines.of(old).getFactory().createPoint(new Coordinate(440.5, 260.5))));
        SamMask whole = client.predict(
                        image, Prompts.outline(old).remove(440.5, 260.5), OPTIONS.withViewDownsample(1))
                .single()
                .best();
        assertArrayEquals(whole.wkb(), without.wkb());
        KeptOutline kept = soon(session.keep());
        assertEquals("gland 1", kept.source());
        assertEquals("refined Gland with 1 click", kept.report("Gland"));
        assertNull(session.source(), "the next object is a new one");
        session.refine("gland 1", old, Click.at(380.5, 260.5, true), 1);
        assertTrue(session.undo());
        assertNull(session.source());
        session.click(1, 1, false, 1);
        assertTrue(session.view().message().contains("first"), "there is nothing left to take away from");
    }

    @Test
    void doubtsAreShown() throws Exception {
        ClickSession zoomed = live.clicks(image, PredictOptions.none(), views::add);
        zoomed.click(380.5, 260.5, true, 0.001); // what is in view is far smaller than any answer
        ClickView view = seen(shown -> shown.mask() != null);
        assertTrue(view.unsure());
        assertTrue(view.label().contains("far larger"), view.label());
    }

    @Test
    void whoWaitsForAServerThatIsAwayIsTold() {
        ClickView waiting = new ClickView(null, java.util.List.of(Click.at(1, 1, true)), null, 0, 0, 0, java.util.List.of(), true, "");
        assertEquals("Waiting", waiting.text("Waiting"));
        assertEquals("", waiting.text(""));
        ClickView answered = new ClickView(null, java.util.List.of(Click.at(1, 1, true)), null, 0, 0, 0, java.util.List.of(), false, "");
        assertEquals("", answered.text("Waiting"), "nobody waits");
    }
}
