/*
 * Click on something and get its outline.
 *
 * 1. Start the server (`qupath-sam serve`) and install the client jar (`qupath-sam install-qupath`).
 * 2. Run this script in the script editor. Or set it as startup script (Edit > Preferences): Extensions > SAM is then always there.
 * 3. Choose the SAM tool in the toolbar (key J) and click on an object. A further click, or Shift, adds; Alt takes away. Drag a box round
 *    it, or drag with Shift (Alt) for a scribble. Tab shows what else an ambiguous click may have meant. Space pans.
 * 4. Enter or a double click keeps the outline as an annotation of the class that is set ("Auto set"); Escape drops it; Ctrl+Z takes
 *    back the last click. An outline that is neither kept nor dropped waits where it is while another image is shown.
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
import javafx.beans.value.ChangeListener
import javafx.event.EventHandler
import javafx.scene.Node
import javafx.scene.control.TextInputControl
import javafx.scene.input.KeyCode
import javafx.scene.input.KeyCodeCombination
import javafx.scene.input.KeyEvent
import javafx.scene.input.MouseButton
import javafx.scene.input.MouseEvent
import javafx.scene.shape.SVGPath
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
@Field def model = ''                 // empty: the server's default
@Field def options = [minArea: 0, fillHoles: 0, simplify: 0, choice: 'all']   // um2, um2, um (px2 and px without a pixel size)
@Field def key = KeyCode.J            // chooses the tool
@Field def restMs = 250               // the viewer rests when it has not moved for this long

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
def clicker = new Clicker(gui: gui, model: model, options: options, restMs: restMs)
def install = {
    // A second run of the script replaces what the first one does; tool and menu stay.
    def running = gui.getStage().getProperties()
    running.remove('qupath-sam')?.stop()
    running.put('qupath-sam', clicker)
    def tool = gui.getToolManager().getTools().find { it.getName() == 'SAM' }
    if (tool == null) {
        tool = PathTools.createTool({ running['qupath-sam'].mouse(it) } as EventHandler<MouseEvent>, 'SAM', new ToolIcon())
        gui.getToolManager().installTool(tool, new KeyCodeCombination(key))
        gui.installCommand('Extensions>SAM>Click tool', { gui.getToolManager().setSelectedTool(tool) })
        gui.installCommand('Extensions>SAM>Server...', { running['qupath-sam'].describeServer() }) // the jar's extension has more
    }
    clicker.start(tool)
    if (!startup)
        gui.getToolManager().setSelectedTool(tool)
}
startup ? install() : Platform.runLater(install)
println 'qupath-sam: Extensions > SAM is installed'

/** Between the viewer's events and the client's ClickSession. Lives on the JavaFX thread; waits for nothing. */
class Clicker {
    def gui, model, options, restMs
    private live, tool, viewer, imageData, overlay, pointer
    private image, imageLook // as it is in view
    private session, plane   // the object that is being clicked, and where
    private place            // the same plane, however often its image is opened
    private aside = [:]      // place -> object that is neither kept nor dropped, while another place is shown
    private view             // what is shown of it
    private state, rest, spinner
    private doubleClicks = DoubleClicks.start()
    private drawsStroke      // 'in' or 'out' of the object while a stroke is drawn, else null
    private drag             // points of a press that has not been let go, level-0 px
    private changed = { view -> Platform.runLater { show() } }
    private keyFilter = { key(it) } as EventHandler<KeyEvent>
    private toolListener = { observable, before, now -> now == tool ? attach(gui.getViewer()) : detach() } as ChangeListener
    private viewerChanged = { observable, before, now -> isChosen() ? attach(now) : null } as ChangeListener
    private viewerListener = new ViewerEvents(clicker: this)

    void start(samTool) {
        tool = samTool
        connect()
        rest = new PauseTransition(Duration.millis(restMs))
        rest.setOnFinished { embedView() }
        spinner = new Timeline(new KeyFrame(Duration.millis(100), { viewer?.repaint() } as EventHandler))
        spinner.setCycleCount(Animation.INDEFINITE)
        gui.getStage().addEventFilter(KeyEvent.ANY, keyFilter)
        gui.getToolManager().selectedToolProperty().addListener(toolListener)
        gui.viewerProperty().addListener(viewerChanged)
        if (isChosen())
            attach(gui.getViewer())
    }

    /** With the settings as they are now; what an earlier connection waits for is dropped. */
    void connect() {
        aside.clear()
        session = null
        live?.close()
        live = LiveSession.open()
        def mine = live
        mine.onState { now ->
            Platform.runLater {
                if (mine != live)
                    return
                state = now
                now.name() == 'DISCONNECTED' ? warn(mine.trouble()) : viewer?.repaint()
            }
        }
    }

    void stop() {
        detach()
        gui.getStage().removeEventFilter(KeyEvent.ANY, keyFilter)
        gui.getToolManager().selectedToolProperty().removeListener(toolListener)
        gui.viewerProperty().removeListener(viewerChanged)
        live.close()
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
        turn()
        rest.playFromStart()
    }

    void detach() {
        rest.stop()
        putAside()
        if (viewer != null) {
            viewer.removeViewerListener(viewerListener)
            viewer.getCustomOverlayLayers().remove(overlay)
        }
        viewer = imageData = image = imageLook = overlay = drag = null
    }

    /** To the object of the plane that is shown now. */
    void turn() {
        if (imageData == null || plane == viewer.getImagePlane())
            return
        putAside()
        plane = viewer.getImagePlane()
        place = [imageData.getServer().getPath(), plane.getZ(), plane.getT()]
        session = aside.remove(place)
        session?.resume(imageInView(), changed)
        show()
    }

    /** An object that is neither kept nor dropped waits until its plane is shown again. */
    private void putAside() {
        def isAnother = viewer != null && viewer.getImageData() != imageData
        if (isAnother)
            session?.stopKeeping() // the image's data may be gone before the answer is there
        if (session == null || session.isEmpty() || session.isBeingKept())
            session?.leave()
        else {
            aside[place] = session
            if (isAnother)
                Dialogs.showInfoNotification('SAM', "The outline on ${imageData.getServer().getMetadata().getName()} is not kept. It waits there.")
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

    private predictOptions() {
        return PredictOptions.of(options + [model: model, viewDownsample: viewer.getDownsampleFactor()])
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
        live.embed(imageInView(), region, focus, predictOptions()).whenComplete { windows, failure ->
            if (failure != null)
                Platform.runLater { warnOf(SamException.of(failure)) }
        }
    }

    // 3. Clicks and keys

    void mouse(MouseEvent event) {
        if (imageData == null || imageData != viewer.getImageData())
            return
        pointer = viewer.componentPointToImagePoint(event.getX(), event.getY(), null, false)
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
        drag = null
        if (!isInImage(pointer))
            return
        event.consume()
        def kind = doubleClicks.next(event.getScreenX(), event.getScreenY(), System.nanoTime().intdiv(1000000)).name()
        if (kind == 'DOUBLE' && session != null)
            keep(session.keepAfterDoubleClick())
        else if (kind == 'SINGLE')
            object().click(pointer.x, pointer.y, !event.isAltDown(), viewer.getDownsampleFactor())
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
            object().scribble(points, drawsStroke == 'in', downsample)
        else if (first.x() != last.x() && first.y() != last.y())
            object().box(PixelBox.between(first.x(), first.y(), last.x(), last.y()), downsample)
    }

    private boolean isInImage(point) {
        def server = imageData.getServer()
        def x = point instanceof Point2D ? point.x : point.x(), y = point instanceof Point2D ? point.y : point.y()
        return x >= 0 && y >= 0 && x < server.getWidth() && y < server.getHeight()
    }

    /** The object that is being clicked, or a new one. */
    private object() {
        turn()
        if (session == null || session.isEmpty() || session.isBeingKept()) {
            session?.leave()
            session = live.clicks(imageInView(), predictOptions(), changed)
        }
        return session
    }

    void key(KeyEvent event) {
        if (!isChosen() || gui.getStage().getScene().getFocusOwner() instanceof TextInputControl)
            return
        if (event.getCode() == KeyCode.ALT)
            event.consume() // else it opens the menu bar, and Enter goes there
        if (session == null || event.getEventType() != KeyEvent.KEY_PRESSED)
            return
        def code = event.getCode()
        if (code == KeyCode.ESCAPE && (!session.isEmpty() || view?.message()))
            session.drop()
        else if (code == KeyCode.ENTER && !session.isEmpty())
            keep(session.keep())
        else if (code == KeyCode.TAB && !session.isEmpty() && !event.isShortcutDown())
            session.next()
        else if (code == KeyCode.Z && event.isShortcutDown() && !event.isShiftDown() && !session.isEmpty())
            session.undo()
        else
            return
        event.consume()
    }

    // 4. Keeping

    private void keep(keeping) {
        def keptViewer = viewer, keptData = imageData, keptPlane = plane
        keeping.whenComplete { kept, failure ->
            Platform.runLater { failure == null ? add(kept, keptViewer, keptData, keptPlane) : warnOf(SamException.of(failure)) }
        }
    }

    private void add(kept, keptViewer, keptData, keptPlane) {
        def annotation = PathObjects.createAnnotationObject(roiOf(kept.mask(), keptPlane), PathPrefs.autoSetAnnotationClassProperty().get())
        annotation.getMeasurementList().put('SAM score', kept.mask().score())
        Provenance.write(kept.metadata(), annotation.getMetadata())
        keptData.getHierarchy().addObject(annotation)
        if (keptViewer.getImageData() == keptData)
            keptViewer.setSelectedObject(annotation)
        println "qupath-sam: ${kept.report(annotation.getDisplayedName())}"
    }

    def roiOf(mask, plane) {
        return GeometryTools.geometryToROI(new WKBReader(GeometryTools.getDefaultFactory()).read(mask.wkb()), plane)
    }

    // 5. What is shown

    private void show() {
        view = session?.view()
        overlay?.outline = view?.outline()
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
    ToolIcon() {
        setContent('M8 1.5C4.2 1.5 1.5 4 1.5 7.6 1.5 11.6 4.4 14.5 8.2 14.5 12 14.5 14.5 12 14.5 8.4 14.5 5.9 12.9 5.6 11.6 4.2 10.6 2.9 9.8 1.5 ' +
                '8 1.5ZM8 3C9 3 9.6 3.9 10.5 5.2 11.9 6.8 13 6.9 13 8.4 13 11.2 11 13 8.2 13 5.2 13 3 10.8 3 7.6 3 4.8 5 3 8 3Z' +
                'M7.2 5.4H8.8V7.2H10.6V8.8H8.8V10.6H7.2V8.8H5.4V7.2H7.2Z')
        setFill(javafx.scene.paint.Color.web('#0082b4'))
    }

    Node duplicate() { return new ToolIcon() }
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
            def pathClass = PathPrefs.autoSetAnnotationClassProperty().get()
            ClickPainter.paint(g, px, view, outline, new Color(pathClass == null ? 0x00c8ff : pathClass.getColor()))
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
        def text = view?.text(clicker.live.trouble()) ?: warning ?: view?.label()
        if (text) {
            // In the upper left corner of the viewer, whatever its zoom and rotation.
            def corner = viewer.componentPointToImagePoint(12, 12, null, false)
            def screen = g.create()
            screen.translate(corner.x, corner.y)
            screen.rotate(-viewer.getRotation())
            screen.scale(px, px)
            ClickPainter.paintText(screen, text)
            screen.dispose()
        }
    }
}
