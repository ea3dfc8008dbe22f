/*
 * The click tool: one viewer, its image, and the object that is being clicked there.
 */
import io.github.qupathsam.client.*
import java.awt.Rectangle
import java.awt.Shape
import java.awt.image.BufferedImage
import javafx.animation.Animation
import javafx.animation.KeyFrame
import javafx.animation.PauseTransition
import javafx.animation.Timeline
import javafx.application.Platform
import javafx.beans.value.ChangeListener
import javafx.event.EventHandler
import javafx.scene.input.MouseEvent
import javafx.scene.paint.Paint
import javafx.stage.WindowEvent
import javafx.util.Duration
import qupath.fx.dialogs.Dialogs
import qupath.lib.gui.viewer.QuPathViewer
import qupath.lib.gui.viewer.QuPathViewerListener
import qupath.lib.images.servers.ImageServerBuilder.ServerBuilder

/** Between the viewer's events and the client's ClickSession. Lives on the JavaFX thread; waits for nothing. */
class Clicker {
    def gui, modelElsewhere, options, settings, restMs
    private live, tool, viewer, imageData, overlay
    private keeper = new Keeper(clicker: this)
    private gestures = new Gestures(clicker: this)
    private image, imageLook // as it is in view
    private session, plane   // the object that is being clicked, and where
    private place            // the same plane, however often its image is opened
    private aside = [:]      // place -> object that is neither kept nor dropped, while another place is shown
    private imageNames = [:] // of what has been shown, for a person
    private view             // what is shown of it
    private state, rest, spinner
    private isStarting       // a server on this machine
    private projectModel     // the choice of the project that is open; empty: none
    private changed = { view -> Platform.runLater { show() } }
    private toolListener = { observable, before, now -> now == tool ? attach(gui.getViewer()) : detach() } as ChangeListener
    private viewerChanged = { observable, before, now -> isChosen() ? attach(now) : null } as ChangeListener
    private projectChanged = { observable, before, now -> readProject() } as ChangeListener
    private ending = { askBeforeEnd(it) } as EventHandler<WindowEvent>
    private viewerListener = new ViewerEvents(clicker: this)

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
        gestures.listen()
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
        ([session] + aside.values() + keeper.waiting()).findAll { it != null }.unique { System.identityHashCode(it) }.each { it.moveTo(live) }
        former?.close()
    }

    /** Gives what is neither kept nor dropped to another one. */
    void handOver(next) {
        next.take(aside, imageNames, keeper)
        live.close()
    }

    void take(objects, names, formerKeeper) {
        (objects.values() + formerKeeper.waiting()).each { it.moveTo(live) }
        aside = objects
        imageNames = names
        formerKeeper.handOver(keeper)
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
        gestures.stopListening()
        gui.getToolManager().selectedToolProperty().removeListener(toolListener)
        gui.viewerProperty().removeListener(viewerChanged)
        gui.projectProperty().removeListener(projectChanged)
        gui.getStage().removeEventFilter(WindowEvent.WINDOW_CLOSE_REQUEST, ending)
    }

    /** QuPath is to end: a person says whether what is not in its image may be lost with it. */
    private void askBeforeEnd(WindowEvent event) {
        if (Platform.isNestedLoopRunning()) // QuPath does not end while a dialog is open
            return
        def isClicked = session != null && !session.isEmpty() && !session.isBeingKept()
        def clicked = aside.keySet().collect { imageNames[it[0]] } + (isClicked ? [keeper.imageNameOf(imageData)] : [])
        def question = UnkeptOutlines.question(clicked, keeper.waiting().size(), keeper.namesOfClosed())
        if (question && !Dialogs.showYesNoDialog('SAM', question))
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
        def now = ToolState.of(!!view?.working(), !!isStarting, known)
        gui.getStage().getProperties()['qupath-sam-paint']?.set(Paint.valueOf(now.colour()))
        gui.getToolManager().getToolAction(samTool).setLongText(now.tooltip())
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
        gestures.attach(viewer)
        keeper.addWaiting()
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
        gestures.detach(viewer)
        viewer = imageData = image = imageLook = overlay = null
    }

    /** To the object of the plane that is shown now. */
    void turn() {
        if (imageData == null || plane == viewer.getImagePlane())
            return
        putAside()
        plane = viewer.getImagePlane()
        place = [keeper.identityOf(imageData), plane.getZ(), plane.getT()]
        imageNames[place[0]] = keeper.imageNameOf(imageData)
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
                Dialogs.showInfoNotification('SAM', "The outline on ${keeper.imageNameOf(imageData)} is not kept. It waits there.")
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
        def pointer = gestures.pointer
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

    // 3. The object

    /** The object that is being clicked, or a new one, null where the settings allow none; {@code another} keeps the one under way. */
    def object(another = false) {
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

    /** Has the outline kept as soon as its last click is answered. */
    void keep(keeping, selects = !settings.autoKeep) {
        keeper.keep(keeping, session, selects)
    }

    /** Annotations with an area that are shown. */
    def annotationsInSight(data = imageData, shownIn = viewer) {
        def overlays = shownIn.getOverlayOptions()
        return !overlays.getShowAnnotations() ? [] : data.getHierarchy().getAnnotationObjects().findAll {
            it.getROI()?.isArea() && !overlays.isPathClassHidden(it.getPathClass())
        }
    }

    void mouse(MouseEvent event) { gestures.mouse(event) }

    // 4. What is shown

    private void show() {
        view = session?.view()
        overlay?.outline = view?.outline()
        showState()
        view?.working() ? spinner.play() : spinner.stop()
        viewer?.repaint()
    }

    void warnOf(failure) {
        if (failure.reason() != FailureReason.CANCELLED)
            warn(failure.getMessage())
    }

    /** A message where no object shows it, for a while. */
    void warn(message) {
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

/** Tells the clicker what happens to its viewer. */
class ViewerEvents implements QuPathViewerListener {
    Clicker clicker

    void imageDataChanged(QuPathViewer viewer, ImageData before, ImageData now) { clicker.isChosen() ? clicker.attach(viewer) : clicker.detach() }

    void visibleRegionChanged(QuPathViewer viewer, Shape shape) { clicker.moved() }

    void selectedObjectChanged(QuPathViewer viewer, PathObject object) {}

    void viewerClosed(QuPathViewer viewer) { clicker.detach() }
}
