/*
 * What a person does with mouse and keys while the click tool is chosen.
 */
import io.github.qupathsam.client.*
import javafx.event.EventHandler
import javafx.scene.control.ContextMenu
import javafx.scene.control.MenuItem
import javafx.scene.control.SeparatorMenuItem
import javafx.scene.control.TextInputControl
import javafx.scene.input.KeyCode
import javafx.scene.input.KeyEvent
import javafx.scene.input.MouseButton
import javafx.scene.input.MouseEvent
import javafx.scene.input.ScrollEvent
import qupath.lib.gui.prefs.PathPrefs

/** From mouse and keys to the object that is being clicked. Lives on the JavaFX thread. */
class Gestures {
    def clicker
    private pointer  // level-0 px; null outside of the viewer
    private drawing  // a press that has not been let go
    private doubleClicks = DoubleClicks.start()
    private keys = ClickKeys.start()
    private menu     // of the right button
    private keyFilter = { key(it) } as EventHandler<KeyEvent>
    private wheel = { scroll(it) } as EventHandler<ScrollEvent>
    private rightButton = { offer(it) } as EventHandler<MouseEvent>

    /** Keys come to the window. */
    void listen() {
        clicker.gui.getStage().addEventFilter(KeyEvent.ANY, keyFilter)
    }

    void stopListening() {
        clicker.gui.getStage().removeEventFilter(KeyEvent.ANY, keyFilter)
    }

    void attach(viewer) {
        viewer.getView().addEventFilter(ScrollEvent.SCROLL, wheel)
        viewer.getView().addEventFilter(MouseEvent.MOUSE_PRESSED, rightButton)
    }

    void detach(viewer) {
        menu?.hide()
        viewer?.getView()?.removeEventFilter(ScrollEvent.SCROLL, wheel)
        viewer?.getView()?.removeEventFilter(MouseEvent.MOUSE_PRESSED, rightButton)
        drawing = pointer = null
    }

    void mouse(MouseEvent event) {
        if (clicker.imageData == null || clicker.imageData != clicker.viewer.getImageData())
            return
        def isGone = event.getEventType() == MouseEvent.MOUSE_EXITED
        pointer = isGone ? null : clicker.viewer.componentPointToImagePoint(event.getX(), event.getY(), null, false)
        if (clicker.view?.mask() != null && (isGone || event.getEventType() == MouseEvent.MOUSE_MOVED))
            clicker.viewer.repaint() // what is said of the outline goes with the pointer
        if (isGone)
            return
        if (event.getButton() != MouseButton.PRIMARY)
            return
        if (event.getEventType() == MouseEvent.MOUSE_PRESSED)
            drawing = Drawing.begin(pointer.x, pointer.y, event.isShiftDown(), event.isAltDown())
        else if (event.getEventType() == MouseEvent.MOUSE_DRAGGED && drawing != null && !event.isStillSincePress()) {
            drawing.add(pointer.x, pointer.y)
            clicker.viewer.repaint()
        } else if (event.getEventType() == MouseEvent.MOUSE_RELEASED && !event.isStillSincePress())
            drawn(event)
        else if (event.getEventType() == MouseEvent.MOUSE_CLICKED && event.isStillSincePress())
            clicked(event)
    }

    private void clicked(event) {
        def isPressed = drawing != null // else the press has closed the menu of the right button
        drawing = null
        if (!isPressed || !isInImage(pointer))
            return
        event.consume()
        def kind = doubleClicks.next(event.getScreenX(), event.getScreenY(), System.nanoTime().intdiv(1000000)).name()
        if (kind == 'DOUBLE' && clicker.session != null) {
            if (!clicker.settings.enterOnly)
                clicker.keep(clicker.session.keepAfterDoubleClick())
        } else if (kind == 'SINGLE' && event.isShortcutDown())
            refineAt(pointer, !event.isAltDown())
        else if (kind == 'SINGLE')
            clicker.object(beginsAnother(event))?.click(pointer.x, pointer.y, !event.isAltDown(), clicker.viewer.getDownsampleFactor())
    }

    /** Whether a click or a box is for another object than the one under way, which is kept. */
    private beginsAnother(event) {
        return keys.isNextDown() || (clicker.settings.autoKeep && !event.isShiftDown() && !event.isAltDown())
    }

    /** Refines the annotation at a place: the smallest of the class that is set, neither locked nor hidden. */
    private refineAt(place, positive) {
        clicker.turn()
        def pathClass = PathPrefs.autoSetAnnotationClassProperty().get()
        def here = clicker.annotationsInSight().findAll {
            it.getROI().getImagePlane() == clicker.plane && it.getROI().contains(place.x, place.y) && it.getPathClass() == pathClass
        }
        def open = here.findAll { !it.isLocked() }.min { it.getROI().getArea() }
        def what = pathClass == null ? 'annotation without a class' : "annotation of class ${pathClass}"
        if (open == null) {
            clicker.warn(here ? 'What lies here is locked. Unlock it to refine it.' : "There is no ${what} here to refine.")
            return
        }
        if (clicker.session != null && !clicker.session.isEmpty() && !clicker.session.isBeingKept()) {
            if (!clicker.settings.autoKeep) {
                clicker.warn('Keep the outline under way (Enter) or drop it (Escape) first.')
                return
            }
            clicker.keep(clicker.session.keep(), false)
        }
        def click = Click.at(place.x, place.y, positive)
        def source = [id: open.getID(), place: clicker.keeper.placeOf(open)]
        clicker.object()?.refine(source, Outlines.wkb(open.getROI().getGeometry()), click, clicker.viewer.getDownsampleFactor())
    }

    /** The wheel with Ctrl: wider or narrower, by whole pixels that can be seen at this zoom. */
    private scroll(ScrollEvent event) {
        if (!event.isShortcutDown() || event.getDeltaY() == 0 || clicker.view?.mask() == null)
            return
        event.consume() // else it changes the opacity of all overlays
        clicker.session.grow(event.getDeltaY() > 0 ? step() : -step())
    }

    /** The fewest whole pixels that can be seen at this zoom. */
    private int step() {
        return Math.max(1, (int) Math.round(clicker.viewer.getDownsampleFactor()))
    }

    /** The right button on the object that is being clicked: what the keys do. Else QuPath's own menu comes. */
    private offer(MouseEvent event) {
        if (event.getButton() != MouseButton.SECONDARY || event.isShiftDown()) // Shift: QuPath's circle of classes
            return
        menu?.hide()
        if (!clicker.isChosen() || clicker.session == null || clicker.session.isEmpty() || clicker.session.isBeingKept())
            return
        event.consume() // else QuPath's own comes as well: it opens with the press, too
        def place = clicker.viewer.componentPointToImagePoint(event.getX(), event.getY(), null, false)
        def mine = clicker.session, isHere = isInImage(place), isThere = clicker.view?.mask() != null
        def click = { positive -> mine.click(place.x, place.y, positive, clicker.viewer.getDownsampleFactor()) }
        def item = { String text, boolean isPossible, Closure action ->
            def made = new MenuItem(text)
            made.setDisable(!isPossible)
            made.setOnAction({ mine == clicker.session ? action() : null } as EventHandler)
            return made
        }
        menu = new ContextMenu(
                item('Add here (Shift-click)', isHere) { click(true) },
                item('Take away here (Alt-click)', isHere) { click(false) },
                new SeparatorMenuItem(),
                item('Next outline (Tab)', isThere && mine.hasNext()) { mine.next() },
                item('Larger (Ctrl and wheel)', isThere) { mine.grow(step()) },
                item('Smaller (Ctrl and wheel)', isThere) { mine.grow(-step()) },
                new SeparatorMenuItem(),
                item('Keep (Enter)', true) { clicker.keep(mine.keep()) },
                item('Keep, and begin the next (N)', true) { clicker.keep(mine.keep(), false) },
                item('Take back the last click (Ctrl+Z)', true) { mine.undo() },
                item('Discard (Escape)', true) { mine.drop() })
        menu.setConsumeAutoHidingEvents(true) // the press that closes it is no click on an object
        // Owned by the window: a press on a node that owns a menu would not close it.
        menu.show(clicker.viewer.getView().getScene().getWindow(), event.getScreenX(), event.getScreenY())
    }

    /** What has been drawn with the button down: with Shift or Alt a stroke, else a box. */
    private void drawn(event) {
        def server = clicker.imageData.getServer(), downsample = clicker.viewer.getDownsampleFactor()
        def done = drawing?.within(server.getWidth(), server.getHeight())
        drawing = null
        clicker.viewer.repaint()
        if (done == null)
            return
        event.consume()
        if (done.isStroke())
            clicker.object()?.scribble(done.points(), done.isPositive(), downsample)
        else if (done.box() != null)
            clicker.object(beginsAnother(event))?.box(done.box(), downsample)
    }

    private boolean isInImage(point) {
        def server = clicker.imageData.getServer()
        return point.x >= 0 && point.y >= 0 && point.x < server.getWidth() && point.y < server.getHeight()
    }

    void key(KeyEvent event) {
        if (!clicker.isChosen() || clicker.gui.getStage().getScene().getFocusOwner() instanceof TextInputControl)
            return
        if (event.getCode() == KeyCode.ALT)
            event.consume() // else it opens the menu bar, and Enter goes there
        def session = clicker.session
        if (event.getEventType() == KeyEvent.KEY_RELEASED)
            keys.released(event.getCode())
        if (session == null || event.getEventType() != KeyEvent.KEY_PRESSED)
            return
        def action = keys.pressed(event.getCode(), event.isShortcutDown(), event.isShiftDown(), !session.isEmpty(), session.isBeingKept(),
                !!clicker.view?.message()).name()
        switch (action) {
            case 'DROP': session.drop(); break
            case 'KEEP': clicker.keep(session.keep()); break
            case 'KEEP_AND_GO_ON': clicker.keep(session.keep(), false); break
            case 'NEXT_OUTLINE': session.next(); break
            case 'UNDO': session.undo(); break
        }
        if (action != 'NONE')
            event.consume()
    }
}
