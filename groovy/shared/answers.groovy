/*
 * What the scripts have in common: how the server gets an image, how its answer gets into the image, and how outlines become objects.
 */
import io.github.qupathsam.client.*
import io.github.qupathsam.extension.*
import javafx.application.Platform
import javafx.event.EventHandler
import javafx.geometry.Insets
import javafx.scene.Scene
import javafx.scene.control.Button
import javafx.scene.control.Label
import javafx.scene.control.ProgressBar
import javafx.scene.layout.VBox
import javafx.stage.Stage
import org.locationtech.jts.io.WKBReader
import qupath.lib.display.ImageDisplay
import qupath.lib.images.servers.ImageServerBuilder.ServerBuilder
import qupath.lib.plugins.workflow.DefaultScriptableWorkflowStep
import qupath.lib.roi.RectangleROI

/** Between a script and its image. Of one run of the script, on the thread of that. */
class Answers {
    def script

    /** How the server gets this image: by QuPath's own recipe for opening it, or, where that does not work, as pixels as QuPath shows them. */
    def samImageOf(imageData, plane) {
        def server = imageData.getServer()
        def builder = server.getBuilder()
        def display = server.isRGB() ? null : ImageDisplay.create(imageData)
        def calibration = server.getPixelCalibration()
        def image = SamImage.ofBuilder(GsonTools.getInstance().toJson(builder, ServerBuilder), server.getWidth(), server.getHeight())
                .plane(plane.getZ(), plane.getT())
                .pixelSize(calibration.hasPixelSizeMicrons() ? calibration.getAveragedPixelSizeMicrons() : 0)
                .pixels('QuPath rendered RGB') { region, downsample ->
                    def pixels = server.readRegion(RegionRequest.createInstance(server.getPath(), downsample,
                            region.x(), region.y(), region.width(), region.height(), plane.getZ(), plane.getT()))
                    return display == null ? pixels : display.applyTransforms(pixels, null)
                }
        return display == null && builder != null ? image : image.alwaysPush()
    }

    /** What the server is asked about, as it is now: the answer may come long after. */
    def askedAbout(imageData, objects) {
        def states = objects.findAll { it?.hasROI() }.collectEntries { [it.getID(), placeOf(it)] }
        return Asked.about(imageData, imagesInView(), isRunOverProject(), states)
    }

    /** Whether the script runs once for each of several images, or without a window: then no viewer need show its image. */
    def isRunOverProject() {
        def known = { name -> script.getBinding().hasVariable(name) ? script.getBinding().getVariable(name) : null }
        return getQuPath() == null || known(ScriptAttributes.BATCH_SAVE) || (known(ScriptAttributes.BATCH_SIZE) ?: 1) > 1
    }

    /** The images that the window's viewers show. */
    def imagesInView() {
        return getQuPath() == null ? [] : getQuPath().getAllViewers().collect { it.getImageData() }.findAll { it != null }
    }

    /** An object's plane and outline. */
    def placeOf(object) {
        def roi = object.getROI()
        return roi == null ? null : [roi.getC(), roi.getZ(), roi.getT(), Outlines.fingerprint(roi.getGeometry())]
    }

    /**
     * Writes an answer into the image that was asked about, while no person changes it. {@code work} gets that image, and by id the objects that
     * were asked about and are as they were: each undo makes all objects new ones, and what has been edited or deleted is not there.
     */
    def writeAnswer(asked, work) {
        def begun = getCurrentImageData()
        def writing = {
            def identity = { it.getProperty('PROJECT_ENTRY_ID') ?: it.getServerPath() }
            def imageData = asked.image(imagesInView(), identity, { it.getServer().getMetadata().getName() })
            def report = work(imageData, asked.asTheyWere(imageData.getHierarchy().getAllObjects(false), { it.getID() }, { placeOf(it) }))
            if (imageData != begun) // QuPath says so of the other one
                imageData.getHierarchy().fireHierarchyChangedEvent(script)
            return report
        }
        return asked.wasOpen() ? WindowThread.call(writing) : writing()
    }

    /** Copies the image's data as it was last saved; of an image in no project none is kept where it could be copied. */
    def backUp() {
        if (getProjectEntry() != null)
            ProjectBackup.copy(getProject().getPath(), getProjectEntry().getEntryPath())
    }

    /** Notes what was done in the image's workflow: "Create script" there writes it down, with its settings. */
    def note(imageData, title, script, settings) {
        imageData.getHistoryWorkflow().addStep(new DefaultScriptableWorkflowStep(title, ScriptTexts.step(script, settings)))
    }

    /** Waits for all answers; in a window that shows how far the work is, and can end it. */
    def withProgress(title, task) {
        if (getQuPath() == null) {
            def next = 0L
            return task.run { progress ->
                if (System.currentTimeMillis() > next) {
                    println "qupath-sam: ${title}: ${progress.text()}"
                    next = System.currentTimeMillis() + 10000
                }
            }
        }
        def bar = new ProgressBar(0), text = new Label('Asking the server ...'), stage = null
        bar.setPrefWidth(380)
        Platform.runLater {
            def cancel = new Button('Cancel')
            cancel.setOnAction({ text.setText('Stopping ...'); task.cancel() } as EventHandler)
            def box = new VBox(10, text, bar, cancel)
            box.setPadding(new Insets(14))
            stage = new Stage()
            stage.initOwner(getQuPath().getStage())
            stage.setTitle("SAM: ${title}".toString())
            stage.setScene(new Scene(box))
            stage.setOnCloseRequest({ task.cancel() } as EventHandler)
            stage.show()
        }
        try {
            return task.run { progress ->
                Platform.runLater {
                    bar.setProgress(progress.share())
                    text.setText(progress.text())
                }
            }
        } finally {
            Platform.runLater { stage?.close() }
        }
    }

    /** The outline as QuPath's region of interest on a plane. */
    def roiOf(mask, plane) {
        return GeometryTools.geometryToROI(new WKBReader(GeometryTools.getDefaultFactory()).read(mask.wkb()), plane)
    }

    /** Gives an object another outline on its plane; all else stays, but for measurements that the new shape makes wrong. */
    def replaceOutline(object, mask, metadata) {
        def kept = ShapeMeasurements.kept(object.getMeasurements()) // first: setROI empties them
        object.setROI(roiOf(mask, object.getROI().getImagePlane()))
        kept.each { name, value -> object.getMeasurementList().put(name, value.doubleValue()) }
        object.getMeasurementList().put('SAM score', mask.score())
        if (object.isAnnotation())
            Provenance.write(metadata, object.getMetadata())
    }

    /** A new annotation for an answer, named as its prompt, with its score and what made it. */
    def annotationOf(outlined, pathClass) {
        def source = outlined.source()
        def annotation = PathObjects.createAnnotationObject(roiOf(outlined.mask(), source.getROI().getImagePlane()), pathClass)
        annotation.setName(source.getName())
        annotation.getMeasurementList().put('SAM score', outlined.mask().score())
        Provenance.write(outlined.metadata(), annotation.getMetadata())
        return annotation
    }

    /** What a drawn annotation says: points are clicks, lines and brush strokes scribbles, rectangles boxes; an ignored class says "not this". */
    def promptOf(annotation) {
        def roi = annotation.getROI()
        def positive = annotation.getPathClass() == null || !PathClassTools.isIgnoredClass(annotation.getPathClass())
        def points = roi.isArea() ? [] : roi.getAllPoints().collect { Point.of(it.getX(), it.getY()) }
        if (roi.isPoint())
            return PromptShape.points(annotation, points, positive)
        if (roi.isLine())
            return PromptShape.line(annotation, points, positive)
        if (roi instanceof RectangleROI && positive)
            return PromptShape.box(annotation, roi.getBoundsX(), roi.getBoundsY(), roi.getBoundsWidth(), roi.getBoundsHeight())
        return PromptShape.stroke(annotation, roi.getShape(), positive)
    }

    def isIgnored(annotation) {
        return annotation.getPathClass() != null && PathClassTools.isIgnoredClass(annotation.getPathClass())
    }
}
