/*
 * Click on something and get its outline.
 *
 * 1. Start the server (`qupath-sam serve`) and install the client jar (`qupath-sam install-qupath`).
 * 2. Run this script in the script editor. Or set it as startup script (Edit > Preferences): Extensions > SAM is then always there.
 * 3. Choose the SAM tool in the toolbar (key J) and click on an object. A further click, or Shift, adds; Alt takes away. Drag a box round
 *    it, or drag with Shift (Alt) for a scribble. Tab shows what else a first click may have meant, and the next click goes on from
 *    there. The wheel with Ctrl makes the outline wider or narrower by whole pixels. Space pans.
 * 4. Enter or a double click keeps the outline as an annotation of the class that is set ("Auto set"); N keeps it, for the next object;
 *    Escape drops it; Ctrl+Z takes back the last click. An outline that is neither kept nor dropped waits where it is while another image
 *    is shown, until QuPath ends, which asks first.
 * 5. The right button offers what the keys do, once something has been clicked.
 * 6. Ctrl+click into an annotation of the class that is set refines that one; what is locked or hidden stays as it is.
 */
import groovy.transform.Field
import io.github.qupathsam.client.*
import java.awt.Color
import java.awt.Graphics2D
import java.awt.Rectangle
import java.awt.Shape
import java.awt.geom.Point2D
import java.awt.image.BufferedImage
import javafx.animation.Animation
import javafx.animation.KeyFrame
import javafx.animation.PauseTransition
import javafx.animation.Timeline
import javafx.application.Platform
import javafx.beans.property.SimpleObjectProperty
import javafx.beans.value.ChangeListener
import javafx.event.EventHandler
import javafx.scene.Node
import javafx.scene.control.ContextMenu
import javafx.scene.control.MenuItem
import javafx.scene.control.SeparatorMenuItem
import javafx.scene.control.TextInputControl
import javafx.scene.input.KeyCode
import javafx.scene.input.KeyCodeCombination
import javafx.scene.input.KeyEvent
import javafx.scene.input.MouseButton
import javafx.scene.input.MouseEvent
import javafx.scene.input.ScrollEvent
import javafx.scene.paint.Paint
import javafx.scene.shape.SVGPath
import javafx.stage.WindowEvent
import javafx.util.Duration
import org.controlsfx.tools.Duplicatable
import org.locationtech.jts.io.WKBReader
import qupath.fx.dialogs.Dialogs
import qupath.lib.gui.prefs.PathPrefs
import qupath.lib.gui.viewer.QuPathViewer
import qupath.lib.gui.viewer.QuPathViewerListener
import qupath.lib.gui.viewer.overlays.AbstractOverlay
import qupath.lib.gui.viewer.tools.PathTools
import qupath.lib.images.servers.ImageServerBuilder.ServerBuilder

// Settings
@Field def modelElsewhere = ''        // where the project has chosen none; empty: the server's default
@Field def options = [minArea: 0, fillHoles: 0, simplify: 0, downsample: 0, mpp: 0, keepParts: false, choice: 'all']   // um2, um2, um (px2 and px without a pixel size)
@Field def key = KeyCode.J            // chooses the tool
@Field def restMs = 250               // the viewer rests when it has not moved for this long
@Field def autoKeep = false           // a click without Shift or Alt keeps the last outline and begins the next object
@Field def enterOnly = false          // a double click keeps nothing
@Field def asDetections = false       // outlines become detections
@Field def asChildren = false         // they become children of the smallest annotation in sight that contains them
@Field def cutAtNeighbours = false    // they end where an annotation in sight of the same class begins
@Field def namePattern = ''           // name of what is kept, such as '{class} {n}'; empty: none
@Field def colour = ''                // such as '#00c8ff'; empty: that of the class
@Field def opacity = 0.2              // of the preview, 0 to 1

// The client jar is looked for before anything else, so that its absence has a clear message and a non-zero exit.
try {
    this.class.classLoader.loadClass('io.github.qupathsam.client.SamClient')
} catch (ClassNotFoundException absent) {
    def remedy = 'The client jar is not installed. Run `qupath-sam install-qupath`, or drag qupath-sam-client.jar onto QuPath.'
    println "qupath-sam: ${remedy}"
    if (getQuPath() == null)
        System.exit(1)
    Dialogs.showErrorMessage('SAM', remedy)
    return
}

def gui = getQuPath()
if (gui == null) {
    println 'qupath-sam: live_click needs a window. Without one use segment_for_project.'
    System.exit(1)
}
def startup = Platform.isFxApplicationThread()
def settings = [autoKeep: autoKeep, enterOnly: enterOnly, asDetections: asDetections, asChildren: asChildren,
                cutAtNeighbours: cutAtNeighbours, namePattern: namePattern, colour: colour, opacity: opacity]
def clicker = new Clicker(gui: gui, modelElsewhere: modelElsewhere, options: options, settings: settings, restMs: restMs)
def install = {
    // A second run of the script replaces what the first one does; tool, menu and what is not yet kept stay.
    def running = gui.getStage().getProperties()
    def former = running.remove('qupath-sam')
    former?.stop()
    running.put('qupath-sam', clicker)
    def tool = gui.getToolManager().getTools().find { it.getName() == 'SAM' }
    if (tool == null) {
        running['qupath-sam-paint'] = new SimpleObjectProperty<Paint>()
        def icon = new ToolIcon(running['qupath-sam-paint'])
        tool = PathTools.createTool({ running['qupath-sam'].mouse(it) } as EventHandler<MouseEvent>, 'SAM', icon)
        clicker.showState(tool, null) // before there is a button: it gets its tooltip from here
        gui.getToolManager().installTool(tool, new KeyCodeCombination(key))
        gui.installCommand('Extensions>SAM>Click tool', { gui.getToolManager().setSelectedTool(tool) })
        gui.installCommand('Extensions>SAM>Server...', { running['qupath-sam'].describeServer() }) // the jar's extension has more
    }
    clicker.start(tool, former)
    if (!startup)
        gui.getToolManager().setSelectedTool(tool)
}
startup ? install() : Platform.runLater(install)
println 'qupath-sam: Extensions > SAM is installed'

/** Between the viewer's events and the client's ClickSession. Lives on the JavaFX thread; waits for nothing. */
class Clicker {
    /** What is known of the server, how the tool's icon shows it, and in words. */
    private static final STATES = [
            unknown: ['#0082b4', ''],
            away: ['#c0392b', 'There is no SAM server: Extensions > SAM > Server...'],
            starting: ['#e69500', 'Waiting for the SAM server'],
            ready: ['#2e8b57', 'The SAM server is ready'],
            working: ['#00b4ff', 'The SAM server is working']]
    def gui, modelElsewhere, options, settings, restMs
    private live, tool, viewer, imageData, overlay, pointer
    private image, imageLook // as it is in view
    private session, plane   // the object that is being clicked, and where
    private place            // the same plane, however often its image is opened
    private aside = [:]      // place -> object that is neither kept nor dropped, while another place is shown
    private imageNames = [:] // of what has been shown, for a person
    private beingKept = []   // objects that wait for their last answer
    private unwritten = []   // what was kept when its image was closed already: it is added when that is opened again
    private view             // what is shown of it
    private state, rest, spinner
    private doubleClicks = DoubleClicks.start()
    private drawsStroke      // 'in' or 'out' of the object while a stroke is drawn, else null
    private drag             // points of a press that has not been let go, level-0 px
    private nextIsDown       // N: it repeats while it is held
    private isStarting       // a server on this machine
    private projectModel     // the choice of the project that is open; empty: none
    private changed = { view -> Platform.runLater { show() } }
    private keyFilter = { key(it) } as EventHandler<KeyEvent>
    private toolListener = { observable, before, now -> now == tool ? attach(gui.getViewer()) : detach() } as ChangeListener
    private viewerChanged = { observable, before, now -> isChosen() ? attach(now) : null } as ChangeListener
    private projectChanged = { observable, before, now -> readProject() } as ChangeListener
    private ending = { askBeforeEnd(it) } as EventHandler<WindowEvent>
    private viewerListener = new ViewerEvents(clicker: this)
    private wheel = { scroll(it) } as EventHandler<ScrollEvent>
    private rightButton = { offer(it) } as EventHandler<MouseEvent>
    private menu             // of the right button

    /** @param former what did the same before, or null; it has been stopped */
    void start(samTool, former) {
        tool = samTool
        connect()
        former?.handOver(this)
        showState()
        rest = new PauseTransition(Duration.millis(restMs))
        rest.setOnFinished { embedView() }
        spinner = new Timeline(new KeyFrame(Duration.millis(100), { viewer?.repaint() } as EventHandler))
        spinner.setCycleCount(Animation.INDEFINITE)
        gui.getStage().addEventFilter(KeyEvent.ANY, keyFilter)
        gui.getToolManager().selectedToolProperty().addListener(toolListener)
        gui.viewerProperty().addListener(viewerChanged)
        gui.projectProperty().addListener(projectChanged)
        gui.getStage().addEventFilter(WindowEvent.WINDOW_CLOSE_REQUEST, ending)
        if (isChosen())
            attach(gui.getViewer())
    }

    /** With the settings as they are now; objects that are being clicked stay, and what is unanswered is asked again. */
    void connect() {
        def former = live
        readProject()
        live = LiveSession.open()
        def mine = live
        mine.onState { now ->
            Platform.runLater {
                if (mine != live)
                    return
                state = now
                isStarting = false
                showState()
                now.name() == 'DISCONNECTED' ? warn(mine.trouble()) : viewer?.repaint()
            }
        }
        ([session] + aside.values() + beingKept).findAll { it != null }.unique { System.identityHashCode(it) }.each { it.moveTo(live) }
        former?.close()
    }

    /** Gives what is neither kept nor dropped to another one. */
    void handOver(next) {
        next.take(aside, beingKept, unwritten, imageNames)
        live.close()
    }

    void take(objects, kept, closed, names) {
        (objects.values() + kept).each { it.moveTo(live) }
        aside = objects
        beingKept = kept // the former one's own lists: what it waits for ends in them
        unwritten = closed
        imageNames = names
    }

    /** Read once: a click waits for no file. */
    private void readProject() {
        try {
            projectModel = ProjectSettings.model(gui.getProject()?.getPath())
        } catch (IllegalArgumentException unreadable) {
            projectModel = ''
            Dialogs.showErrorNotification('SAM', unreadable.getMessage())
        }
    }

    /** To be followed by {@link #handOver}. */
    void stop() {
        detach()
        gui.getStage().removeEventFilter(KeyEvent.ANY, keyFilter)
        gui.getToolManager().selectedToolProperty().removeListener(toolListener)
        gui.viewerProperty().removeListener(viewerChanged)
        gui.projectProperty().removeListener(projectChanged)
        gui.getStage().removeEventFilter(WindowEvent.WINDOW_CLOSE_REQUEST, ending)
    }

    /** QuPath is to end: a person says whether what is not in its image may be lost with it. */
    private void askBeforeEnd(WindowEvent event) {
        if (Platform.isNestedLoopRunning()) // QuPath does not end while a dialog is open
            return
        def list = { names -> names.countBy { it }.collect { name, count -> count == 1 ? name : "${name} (${count})" }.join(', ') }
        def isClicked = session != null && !session.isEmpty() && !session.isBeingKept()
        def clicked = aside.keySet().collect { imageNames[it[0]] } + (isClicked ? [imageNameOf(imageData)] : [])
        def said = []
        if (clicked)
            said << "Outlines that are neither kept nor dropped: ${list(clicked)}."
        if (beingKept)
            said << "Outlines that you kept and that the server has not answered: ${beingKept.size()}."
        if (unwritten)
            said << "Outlines that you kept, of images that are closed: ${list(unwritten.collect { it[2] })}. They are added when you open these."
        if (said && !Dialogs.showYesNoDialog('SAM', (said + 'They are lost when QuPath ends. End it all the same?').join('\n')))
            event.consume()
    }

    /** A setting of the scripts' has another value from now on. */
    void set(String name, value) {
        if (name == 'modelElsewhere')
            modelElsewhere = value
        else if (options.containsKey(name))
            options = options + [(name): value]
        else
            settings = settings + [(name): value]
        viewer?.repaint()
    }

    /** A server is being started on this machine. */
    void starting(boolean now) {
        isStarting = now
        showState()
    }

    void showState(samTool = tool, known = state) {
        def now = view?.working() ? 'working' : isStarting ? 'starting' :
                [CONNECTED: 'ready', RECONNECTING: 'starting', DISCONNECTED: 'away'].getOrDefault(known?.name(), 'unknown')
        def (paint, words) = STATES[now]
        gui.getStage().getProperties()['qupath-sam-paint']?.set(Paint.valueOf(paint))
        gui.getToolManager().getToolAction(samTool).setLongText('SAM: click on an object, Shift adds, Alt takes away, Enter keeps, Escape drops (J)' +
                (words ? "\n${words}" : ''))
    }

    boolean isChosen() {
        return gui.getToolManager().getSelectedTool() == tool
    }

    // 1. A viewer and its image

    void attach(newViewer) {
        if (viewer == newViewer && imageData == newViewer?.getImageData())
            return
        detach()
        viewer = newViewer
        if (viewer == null)
            return
        viewer.addViewerListener(viewerListener) // also without an image: one may be opened later
        imageData = viewer.getImageData()
        if (imageData == null)
            return
        overlay = new Preview(viewer.getOverlayOptions(), this)
        viewer.getCustomOverlayLayers().add(overlay)
        viewer.getView().addEventFilter(ScrollEvent.SCROLL, wheel)
        viewer.getView().addEventFilter(MouseEvent.MOUSE_PRESSED, rightButton)
        def waiting = unwritten.toList()
        unwritten.clear()
        waiting.each { add(*it) }
        turn()
        rest.playFromStart()
    }

    void detach() {
        rest.stop()
        menu?.hide()
        putAside()
        if (viewer != null) {
            viewer.removeViewerListener(viewerListener)
            viewer.getCustomOverlayLayers().remove(overlay)
            viewer.getView().removeEventFilter(ScrollEvent.SCROLL, wheel)
            viewer.getView().removeEventFilter(MouseEvent.MOUSE_PRESSED, rightButton)
        }
        viewer = imageData = image = imageLook = overlay = drag = pointer = null
    }

    /** To the object of the plane that is shown now. */
    void turn() {
        if (imageData == null || plane == viewer.getImagePlane())
            return
        putAside()
        plane = viewer.getImagePlane()
        place = [identityOf(imageData), plane.getZ(), plane.getT()]
        imageNames[place[0]] = imageNameOf(imageData)
        session = aside.remove(place)
        session?.resume(imageInView(), changed)
        show()
    }

    /** An object that is neither kept nor dropped waits until its plane is shown again. */
    private void putAside() {
        def isAnother = viewer != null && viewer.getImageData() != imageData
        if (settings.autoKeep && !isAnother && session != null && !session.isEmpty() && !session.isBeingKept())
            keep(session.keep(), false)
        if (isAnother)
            session?.stopKeeping() // the image's data may be gone before the answer is there
        if (session == null || session.isEmpty() || session.isBeingKept())
            session?.leave()
        else {
            aside[place] = session
            if (isAnother)
                Dialogs.showInfoNotification('SAM', "The outline on ${imageNameOf(imageData)} is not kept. It waits there.")
        }
        session = plane = place = null
        show()
    }

    /** The image as it is in view: another plane, or other colours, are another image to the server. */
    private imageInView() {
        def isRGB = imageData.getServer().isRGB()
        def look = [viewer.getImagePlane(), isRGB ? null : viewer.getImageDisplay().getLastChangeTimestamp()]
        if (imageLook != look) {
            imageLook = look
            image = samImageOf(imageData, viewer.getImagePlane(), isRGB ? null : viewer.getImageDisplay())
        }
        return image
    }

    private samImageOf(imageData, plane, display) {
        def server = imageData.getServer()
        def builder = server.getBuilder()
        def calibration = server.getPixelCalibration()
        def made = SamImage.ofBuilder(GsonTools.getInstance().toJson(builder, ServerBuilder), server.getWidth(), server.getHeight())
                .plane(plane.getZ(), plane.getT())
                .pixelSize(calibration.hasPixelSizeMicrons() ? calibration.getAveragedPixelSizeMicrons() : 0)
                .pixels('QuPath rendered RGB') { region, downsample ->
                    def pixels = server.readRegion(RegionRequest.createInstance(server.getPath(), downsample,
                            region.x(), region.y(), region.width(), region.height(), plane.getZ(), plane.getT()))
                    return display == null ? pixels : display.applyTransforms(pixels, null)
                }
        return display == null && builder != null ? made : made.alwaysPush()
    }

    /** As the settings say; null, and a warning, where they cannot be: events of the viewer must not end in an exception. */
    private predictOptions() {
        def scale = options.downsample > 0 ? [mpp: 0] : [:] // of two scales the downsample counts
        try {
            return PredictOptions.of(options + scale + [model: projectModel ?: modelElsewhere, viewDownsample: viewer.getDownsampleFactor()])
        } catch (RuntimeException invalid) {
            warnOf(SamException.of(invalid))
            return null
        }
    }

    // 2. Ahead of the first click: the windows in view, as soon as the viewer rests

    void moved() {
        turn()
        rest.playFromStart()
    }

    private void embedView() {
        if (imageData == null || !isChosen())
            return
        def server = imageData.getServer()
        def seen = viewer.getDisplayedRegionShape().getBounds().intersection(new Rectangle(server.getWidth(), server.getHeight()))
        if (seen.isEmpty())
            return
        def focus = pointer != null && seen.contains(pointer) ? Point.of(pointer.x, pointer.y) : null
        def region = PixelRegion.of((int) seen.x, (int) seen.y, (int) seen.width, (int) seen.height)
        def wanted = predictOptions()
        if (wanted == null)
            return
        live.embed(imageInView(), region, focus, wanted).whenComplete { windows, failure ->
            if (failure != null)
                Platform.runLater { warnOf(SamException.of(failure)) }
        }
    }

    // 3. Clicks and keys

    void mouse(MouseEvent event) {
        if (imageData == null || imageData != viewer.getImageData())
            return
        def isGone = event.getEventType() == MouseEvent.MOUSE_EXITED
        pointer = isGone ? null : viewer.componentPointToImagePoint(event.getX(), event.getY(), null, false)
        if (view?.mask() != null && (isGone || event.getEventType() == MouseEvent.MOUSE_MOVED))
            viewer.repaint() // what is said of the outline goes with the pointer
        if (isGone)
            return
        if (event.getButton() != MouseButton.PRIMARY)
            return
        if (event.getEventType() == MouseEvent.MOUSE_PRESSED)
            press(event)
        else if (event.getEventType() == MouseEvent.MOUSE_DRAGGED && drag != null && !event.isStillSincePress()) {
            drag << Point.of(pointer.x, pointer.y)
            viewer.repaint()
        } else if (event.getEventType() == MouseEvent.MOUSE_RELEASED && !event.isStillSincePress())
            dragged(event)
        else if (event.getEventType() == MouseEvent.MOUSE_CLICKED && event.isStillSincePress())
            clicked(event)
    }

    private void press(event) {
        drag = [Point.of(pointer.x, pointer.y)]
        drawsStroke = event.isAltDown() ? 'out' : event.isShiftDown() ? 'in' : null
    }

    private void clicked(event) {
        def isPressed = drag != null // else the press has closed the menu of the right button
        drag = null
        if (!isPressed || !isInImage(pointer))
            return
        event.consume()
        def kind = doubleClicks.next(event.getScreenX(), event.getScreenY(), System.nanoTime().intdiv(1000000)).name()
        if (kind == 'DOUBLE' && session != null) {
            if (!settings.enterOnly)
                keep(session.keepAfterDoubleClick())
        } else if (kind == 'SINGLE' && event.isShortcutDown())
            refineAt(pointer, !event.isAltDown())
        else if (kind == 'SINGLE')
            object(beginsAnother(event))?.click(pointer.x, pointer.y, !event.isAltDown(), viewer.getDownsampleFactor())
    }

    /** Whether a click or a box is for another object than the one under way, which is kept. */
    private beginsAnother(event) {
        return nextIsDown || (settings.autoKeep && !event.isShiftDown() && !event.isAltDown())
    }

    /** Refines the annotation at a place: the smallest of the class that is set, neither locked nor hidden. */
    private refineAt(place, positive) {
        turn()
        def pathClass = PathPrefs.autoSetAnnotationClassProperty().get()
        def here = annotationsInSight().findAll {
            it.getROI().getImagePlane() == plane && it.getROI().contains(place.x, place.y) && it.getPathClass() == pathClass
        }
        def open = here.findAll { !it.isLocked() }.min { it.getROI().getArea() }
        def what = pathClass == null ? 'annotation without a class' : "annotation of class ${pathClass}"
        if (open == null) {
            warn(here ? 'What lies here is locked. Unlock it to refine it.' : "There is no ${what} here to refine.")
            return
        }
        if (session != null && !session.isEmpty() && !session.isBeingKept()) {
            if (!settings.autoKeep) {
                warn('Keep the outline under way (Enter) or drop it (Escape) first.')
                return
            }
            keep(session.keep(), false)
        }
        def click = Click.at(place.x, place.y, positive)
        def source = [id: open.getID(), place: placeOf(open)]
        object()?.refine(source, Outlines.wkb(open.getROI().getGeometry()), click, viewer.getDownsampleFactor())
    }

    /** Annotations with an area that are shown. */
    private annotationsInSight(data = imageData, shownIn = viewer) {
        def overlays = shownIn.getOverlayOptions()
        return !overlays.getShowAnnotations() ? [] : data.getHierarchy().getAnnotationObjects().findAll {
            it.getROI()?.isArea() && !overlays.isPathClassHidden(it.getPathClass())
        }
    }

    /** The wheel with Ctrl: wider or narrower, by whole pixels that can be seen at this zoom. */
    private scroll(ScrollEvent event) {
        if (!event.isShortcutDown() || event.getDeltaY() == 0 || view?.mask() == null)
            return
        event.consume() // else it changes the opacity of all overlays
        session.grow(event.getDeltaY() > 0 ? step() : -step())
    }

    /** The fewest whole pixels that can be seen at this zoom. */
    private int step() {
        return Math.max(1, (int) Math.round(viewer.getDownsampleFactor()))
    }

    /** The right button on the object that is being clicked: what the keys do. Else QuPath's own menu comes. */
    private offer(MouseEvent event) {
        if (event.getButton() != MouseButton.SECONDARY || event.isShiftDown()) // Shift: QuPath's circle of classes
            return
        menu?.hide()
        if (!isChosen() || session == null || session.isEmpty() || session.isBeingKept())
            return
        event.consume() // else QuPath's own comes as well: it opens with the press, too
        def place = viewer.componentPointToImagePoint(event.getX(), event.getY(), null, false)
        def mine = session, isHere = isInImage(place), isThere = view?.mask() != null
        def click = { positive -> mine.click(place.x, place.y, positive, viewer.getDownsampleFactor()) }
        def item = { String text, boolean isPossible, Closure action ->
            def made = new MenuItem(text)
            made.setDisable(!isPossible)
            made.setOnAction({ mine == session ? action() : null } as EventHandler)
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
                item('Keep (Enter)', true) { keep(mine.keep()) },
                item('Keep, and begin the next (N)', true) { keep(mine.keep(), false) },
                item('Take back the last click (Ctrl+Z)', true) { mine.undo() },
                item('Discard (Escape)', true) { mine.drop() })
        menu.setConsumeAutoHidingEvents(true) // the press that closes it is no click on an object
        // Owned by the window: a press on a node that owns a menu would not close it.
        menu.show(viewer.getView().getScene().getWindow(), event.getScreenX(), event.getScreenY())
    }

    /** What has been drawn with the button down: with Shift or Alt a stroke, else a box. */
    private void dragged(event) {
        def points = drag?.findAll { isInImage(it) }
        drag = null
        viewer.repaint()
        if (!points || points.size() < 2)
            return
        event.consume()
        def downsample = viewer.getDownsampleFactor()
        def first = points.first(), last = points.last()
        if (drawsStroke)
            object()?.scribble(points, drawsStroke == 'in', downsample)
        else if (first.x() != last.x() && first.y() != last.y())
            object(beginsAnother(event))?.box(PixelBox.between(first.x(), first.y(), last.x(), last.y()), downsample)
    }

    private boolean isInImage(point) {
        def server = imageData.getServer()
        def x = point instanceof Point2D ? point.x : point.x(), y = point instanceof Point2D ? point.y : point.y()
        return x >= 0 && y >= 0 && x < server.getWidth() && y < server.getHeight()
    }

    /** The object that is being clicked, or a new one, null where the settings allow none; {@code another} keeps the one under way. */
    private object(another = false) {
        turn()
        if (another && session != null && !session.isEmpty() && !session.isBeingKept())
            keep(session.keep(), false)
        if (session == null || session.isEmpty() || session.isBeingKept()) {
            def wanted = predictOptions()
            if (wanted == null)
                return null
            session?.leave()
            session = live.clicks(imageInView(), wanted, changed)
        }
        return session
    }

    void key(KeyEvent event) {
        if (!isChosen() || gui.getStage().getScene().getFocusOwner() instanceof TextInputControl)
            return
        if (event.getCode() == KeyCode.ALT)
            event.consume() // else it opens the menu bar, and Enter goes there
        def code = event.getCode()
        if (code == KeyCode.N && event.getEventType() == KeyEvent.KEY_RELEASED)
            nextIsDown = false
        if (session == null || event.getEventType() != KeyEvent.KEY_PRESSED)
            return
        if (code == KeyCode.ESCAPE && (!session.isEmpty() || view?.message()))
            session.drop()
        else if (code == KeyCode.ENTER && !session.isEmpty())
            keep(session.keep())
        else if (code == KeyCode.N && !event.isShortcutDown() && (nextIsDown || !session.isEmpty())) { // else it is QuPath's own: names
            if (!nextIsDown && !session.isBeingKept())
                keep(session.keep(), false)
            nextIsDown = true // it repeats while it is held, and what is clicked meanwhile is another object
        } else if (code == KeyCode.TAB && !session.isEmpty() && !event.isShortcutDown())
            session.next()
        else if (code == KeyCode.Z && event.isShortcutDown() && !event.isShiftDown() && !session.isEmpty())
            session.undo()
        else
            return
        event.consume()
    }

    // 4. Keeping

    /** @param selects whether the annotation is selected: not where the next object is under way */
    private void keep(keeping, selects = !settings.autoKeep) {
        def object = session, keptViewer = viewer, keptPlane = plane, imageName = imageNameOf(imageData)
        def asked = Asked.about(imageData, imagesInView(), false, [:])
        beingKept << object
        keeping.whenComplete { kept, failure ->
            Platform.runLater {
                beingKept.remove(object)
                failure == null ? add(kept, asked, imageName, keptViewer, keptPlane, selects) : warnOf(SamException.of(failure))
            }
        }
    }

    /** Adds an outline to the image that it was clicked on, or, where that has been closed, as soon as it is opened again. */
    private void add(kept, asked, imageName, keptViewer, keptPlane, selects) {
        def keptData
        try {
            keptData = asked.image(imagesInView(), { identityOf(it) }, { imageName })
        } catch (IllegalStateException closed) {
            unwritten << [kept, asked, imageName, keptViewer, keptPlane, selects]
            Dialogs.showInfoNotification('SAM', "${imageName} is closed. The outline that you kept is added when you open it again.")
            return
        }
        def made
        try {
            made = addTo(keptData, kept, keptViewer, keptPlane)
        } catch (RuntimeException fault) {
            unwritten << [kept, asked, imageName, keptViewer, keptPlane, selects]
            Dialogs.showErrorNotification('SAM', "The outline could not be added to ${imageName}; choose the tool again to repeat it: ${ScriptRun.told(fault)}")
            return
        }
        if (selects && keptViewer.getImageData() == keptData)
            keptViewer.setSelectedObject(made)
        def pathClass = made.getPathClass()
        if (pathClass != null && keptViewer.getOverlayOptions().isPathClassHidden(pathClass))
            warn("Kept, but objects of class ${pathClass} are hidden: show them in the Annotations tab.")
        println "qupath-sam: ${kept.report(made.getDisplayedName())}"
    }

    /** The annotation that has got an outline, or the new one. */
    private addTo(keptData, kept, keptViewer, keptPlane) {
        def outline = new WKBReader(GeometryTools.getDefaultFactory()).read(kept.mask().wkb())
        def hierarchy = keptData.getHierarchy()
        def source = kept.source()
        def made = source == null ? null : hierarchy.getAnnotationObjects().find { it.getID() == source.id && !it.isLocked() && placeOf(it) == source.place }
        if (source != null && made == null)
            warn('The annotation has been changed meanwhile. The outline is a new one.')
        def pathClass = made == null ? PathPrefs.autoSetAnnotationClassProperty().get() : made.getPathClass()
        if (settings.cutAtNeighbours)
            outline = cut(outline, annotationsInSight(keptData, keptViewer).findAll { it != made && it.getPathClass() == pathClass }, keptPlane)
        def roi = GeometryTools.geometryToROI(outline, keptPlane)
        if (made != null) {
            def measured = ShapeMeasurements.kept(made.getMeasurements()) // first: setROI empties them
            made.setROI(roi)
            measured.each { name, value -> made.getMeasurementList().put(name, value.doubleValue()) }
            note(made, kept)
            hierarchy.fireObjectsChangedEvent(this, [made])
        } else {
            made = settings.asDetections ? PathObjects.createDetectionObject(roi, pathClass) : PathObjects.createAnnotationObject(roi, pathClass)
            if (settings.namePattern)
                made.setName(nameOf(pathClass, hierarchy))
            def painted = ownColour()
            if (painted != null)
                made.setColor(painted.getRGB())
            note(made, kept)
            def parent = settings.asChildren ? parentOf(outline, roi, annotationsInSight(keptData, keptViewer)) : null
            parent == null ? hierarchy.addObject(made) : hierarchy.addObjectBelowParent(parent, made, true)
        }
        return made
    }

    /** The images that the window's viewers show. */
    private imagesInView() {
        return gui.getAllViewers().collect { it.getImageData() }.findAll { it != null }
    }

    /** The same for an image that is opened twice. */
    private identityOf(data) {
        return data.getProperty('PROJECT_ENTRY_ID') ?: data.getServerPath()
    }

    private imageNameOf(data) {
        return data.getServer().getMetadata().getName()
    }

    /** An object's plane and outline. */
    private placeOf(object) {
        def roi = object.getROI()
        return [roi.getC(), roi.getZ(), roi.getT(), Outlines.fingerprint(roi.getGeometry())]
    }

    private void note(made, kept) {
        made.getMeasurementList().put('SAM score', kept.mask().score())
        if (made.isAnnotation())
            Provenance.write(kept.metadata(), made.getMetadata())
    }

    /** The outline without its neighbours; whole where they cover it, or where it cannot be cut, so that nothing is lost. */
    private cut(outline, neighbours, onPlane) {
        def bounds = outline.getEnvelopeInternal()
        def near = neighbours.findAll {
            def roi = it.getROI()
            roi.getImagePlane() == onPlane && roi.getBoundsX() < bounds.getMaxX() && roi.getBoundsY() < bounds.getMaxY() &&
                    roi.getBoundsX() + roi.getBoundsWidth() > bounds.getMinX() && roi.getBoundsY() + roi.getBoundsHeight() > bounds.getMinY()
        }
        try {
            def rest = Outlines.cut(outline, near.collect { it.getROI().getGeometry() })
            if (!rest.isEmpty())
                return rest
            warn('The outline lies in another of its class: it is not cut.')
        } catch (RuntimeException fault) {
            warn('The outline cannot be cut at its neighbours, and is kept whole: ' + ScriptRun.told(fault))
        }
        return outline
    }

    /** The smallest annotation that contains an outline; null where none does, or none can be found. */
    private parentOf(outline, roi, annotations) {
        try {
            return annotations.findAll {
                it.getROI().getImagePlane() == roi.getImagePlane() && it.getROI().getArea() > roi.getArea() && it.getROI().getGeometry().covers(outline)
            }.min { it.getROI().getArea() }
        } catch (RuntimeException fault) {
            warn('The outline is kept, but not as a child: ' + ScriptRun.told(fault))
            return null
        }
    }

    private nameOf(pathClass, hierarchy) {
        def of = hierarchy.getAllObjects(false).count { it.getPathClass() == pathClass && it.isDetection() == settings.asDetections }
        return settings.namePattern.replace('{class}', pathClass == null ? 'SAM' : pathClass.toString()).replace('{n}', String.valueOf(of + 1))
    }

    /** In which the preview is drawn. */
    private colourNow() {
        def pathClass = PathPrefs.autoSetAnnotationClassProperty().get()
        return ownColour() ?: new Color(pathClass == null ? 0x00c8ff : pathClass.getColor())
    }

    /** That of the settings; null where they name none that there is. */
    private ownColour() {
        try {
            return settings.colour ? Color.decode(settings.colour) : null
        } catch (NumberFormatException unknown) {
            warn("'${settings.colour}' is no colour; write it as #00c8ff.")
            settings = settings + [colour: '']
            return null
        }
    }

    // 5. What is shown

    private void show() {
        view = session?.view()
        overlay?.outline = view?.outline()
        showState()
        view?.working() ? spinner.play() : spinner.stop()
        viewer?.repaint()
    }

    private void warnOf(failure) {
        if (failure.reason() != FailureReason.CANCELLED)
            warn(failure.getMessage())
    }

    /** A message where no object shows it, for a while. */
    private void warn(message) {
        if (overlay == null || view?.message())
            return
        overlay.warning = message
        viewer?.repaint()
        def mine = overlay
        def fade = new PauseTransition(Duration.seconds(6))
        fade.setOnFinished { mine.warning = null; viewer?.repaint() }
        fade.play()
    }

    void describeServer() {
        Thread.startDaemon('qupath-sam-server') {
            def text
            try {
                text = SamClient.connect().withCloseable { it.description() }
            } catch (RuntimeException failure) {
                text = failure.getMessage()
            }
            Platform.runLater { Dialogs.showMessageDialog('SAM server', text) }
        }
    }
}

/** A blob with a plus in it; toolbar and menu each take a copy. */
class ToolIcon extends SVGPath implements Duplicatable<Node> {
    private final paint

    ToolIcon(paint) {
        this.paint = paint
        setContent('M8 1.5C4.2 1.5 1.5 4 1.5 7.6 1.5 11.6 4.4 14.5 8.2 14.5 12 14.5 14.5 12 14.5 8.4 14.5 5.9 12.9 5.6 11.6 4.2 10.6 2.9 9.8 1.5 ' +
                '8 1.5ZM8 3C9 3 9.6 3.9 10.5 5.2 11.9 6.8 13 6.9 13 8.4 13 11.2 11 13 8.2 13 5.2 13 3 10.8 3 7.6 3 4.8 5 3 8 3Z' +
                'M7.2 5.4H8.8V7.2H10.6V8.8H8.8V10.6H7.2V8.8H5.4V7.2H7.2Z')
        fillProperty().bind(paint)
    }

    Node duplicate() { return new ToolIcon(paint) }
}

/** Tells the clicker what happens to its viewer. */
class ViewerEvents implements QuPathViewerListener {
    Clicker clicker

    void imageDataChanged(QuPathViewer viewer, ImageData before, ImageData now) { clicker.isChosen() ? clicker.attach(viewer) : clicker.detach() }

    void visibleRegionChanged(QuPathViewer viewer, Shape shape) { clicker.moved() }

    void selectedObjectChanged(QuPathViewer viewer, PathObject object) {}

    void viewerClosed(QuPathViewer viewer) { clicker.detach() }
}

/** The object that is being clicked, as the client paints it, over the viewer. */
class Preview extends AbstractOverlay {
    private final Clicker clicker
    def outline, warning

    Preview(overlayOptions, Clicker clicker) {
        super(overlayOptions)
        this.clicker = clicker
    }

    void paintOverlay(Graphics2D g, ImageRegion region, double px, ImageData<BufferedImage> data, boolean complete) {
        def viewer = clicker.viewer, view = clicker.view
        if (view != null && clicker.plane == viewer.getImagePlane()) {
            ClickPainter.paint(g, px, view, outline, clicker.colourNow(), clicker.settings.opacity as double)
        }
        if (clicker.plane != viewer.getImagePlane())
            Platform.runLater { clicker.turn() }
        def drawn = clicker.drag
        if (drawn != null && drawn.size() > 1) {
            def first = drawn.first(), last = drawn.last()
            if (clicker.drawsStroke)
                ClickPainter.paintStroke(g, px, drawn, clicker.drawsStroke == 'in')
            else if (first.x() != last.x() && first.y() != last.y())
                ClickPainter.paintBox(g, px, PixelBox.between(first.x(), first.y(), last.x(), last.y()))
        }
        // From here on in px of the screen, from the viewer's upper left corner, whatever its zoom and rotation.
        def corner = viewer.componentPointToImagePoint(0, 0, null, false)
        def screen = g.create()
        screen.translate(corner.x, corner.y)
        screen.rotate(-viewer.getRotation())
        screen.scale(px, px)
        def text = view?.text(clicker.live.trouble()) ?: warning
        def label = view?.label()
        def pointer = clicker.pointer
        if (text || (label && pointer == null))
            ClickPainter.paintText(screen, text ?: label, 12, 12)
        if (label && pointer != null) {
            def beside = viewer.imagePointToComponentPoint(pointer, null, false)
            ClickPainter.paintBeside(screen, label, beside.x, beside.y, (int) viewer.getView().getWidth(), (int) viewer.getView().getHeight())
        }
        screen.dispose()
    }
}
