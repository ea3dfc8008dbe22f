/*
 * Carry selected outlines through the planes of a stack.
 *
 * 1. Start the server (`qupath-sam serve`) and install the client jar (`qupath-sam install-qupath`).
 * 2. Select one or more annotations with an area, on the plane where their outlines are right.
 * 3. Run. The outline of a plane is the prompt for the next, upwards and downwards, until the object ends: where the score is too low, or
 *    the area jumps. Each plane gets an annotation of the same class and name; what is selected stays as it is. A window shows how far the
 *    work is; Cancel there changes nothing. Everything is one step of undo; a second run replaces what the first one made.
 */
import io.github.qupathsam.client.*
import io.github.qupathsam.extension.*
import java.util.function.IntFunction
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

// Settings
def model = ''               // empty: the project's choice, or else the server's default
def axis = ''                // 'z' or 't'; empty: the one that the image has; where it has both, a person is asked
def planes = []              // first and last plane to go to, from 0, such as [2, 8]; empty: all
def replaceEarlier = true    // take away what an earlier run has made of the same annotations
// an object ends where its score is lower, where its area changes by more than this factor from plane to plane, or where its IoU with the
// plane before is lower; boxMargin: share of its size by which an object may grow on each side
def refining = [minScore: 0.75, maxAreaChange: 2, minIoU: 0.3, minPartIoU: 0, boxMargin: 0.2, point: true]
// clean: holes and parts below this share of the outline before go; the others are um2, um2, um (px2 and px without a pixel size)
def options = [clean: 0.02, minArea: 0, fillHoles: 0, simplify: 0, downsample: 0, mpp: 0]

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

ScriptRun.of(getQuPath() == null, { println it }, { Dialogs.showErrorMessage('SAM', it) }) {
    def imageData = getCurrentImageData()
    if (imageData == null)
        throw new IllegalStateException('No image is open. Open one and select outlines.')
    def sources = getSelectedObjects().findAll { it.isAnnotation() && it.getROI()?.isArea() }
    if (sources.isEmpty())
        throw new IllegalStateException('No outline is selected. Select annotations with an area.')
    axis = axisOf(imageData.getServer(), axis)
    if (axis == null)
        return 'nothing has been done'

    // 1. Ask the server, plane by plane; nothing changes before every answer is there
    def asked = askedAbout(imageData, sources)
    def size = axis == 'z' ? imageData.getServer().nZSlices() : imageData.getServer().nTimepoints()
    def answers = SamClient.connect(ProjectSettings.of(getProject()?.getPath())).withCloseable { client ->
        sources.groupBy { it.getROI().getImagePlane() }.collect { plane, onPlane ->
            def range = PlaneRange.of(axis == 'z' ? plane.getZ() : plane.getT(), planes ? planes[0] : 0, planes ? planes[1] : size - 1)
            def at = { samImageOf(imageData, planeAt(plane, axis, it)) } as IntFunction
            def outlines = onPlane.collectEntries { [it, Outlines.wkb(it.getROI().getGeometry())] }
            def task = client.propagate(at, range, outlines, PredictOptions.of(options + [model: model]), RefineOptions.of(refining + [anySize: true]))
            withProgress("through ${axis}", task)
        }
    }
    def answer = Propagation.joined(answers)

    // 2. One change of the hierarchy; what a person has locked or selected stays, and its plane with it
    // QuPath itself says that the hierarchy has changed when a script ends; said here as well, it is a second step of undo.
    def ids = sources.collect { it.getID() } as Set
    return writeAnswer(asked) { imageNow, asTheyWere ->
        def hierarchy = imageNow.getHierarchy()
        def earlier = replaceEarlier ? earlierOf(hierarchy, sources, axis, planes ? planes[0] : 0, planes ? planes[1] : size - 1) : []
        def stay = earlier.findAll { it.getID() in ids || isInUse(it) }
        def taken = stay.collect { [it.getMetadata()['qupath-sam.propagated_of'], it.getROI().getImagePlane()] }
        def made = answer.found().findAll { found ->
            !([found.source().getID().toString(), planeAt(found.source().getROI().getImagePlane(), axis, found.plane())] in taken)
        }.collect { annotationOn(it, axis) }
        (earlier - stay).each { hierarchy.removeObjectWithoutUpdate(it, true) }
        hierarchy.getRootObject().addChildObjects(made)
        def hasChanged = !made.isEmpty() || earlier.size() > stay.size()
        if (hasChanged)
            note(imageNow, 'SAM: propagate selected', 'propagate_selected', refining + options + [model: model, axis: axis, planes: planes,
                    replaceEarlier: replaceEarlier])
        def staying = stay ? "; ${stay.size()} of an earlier run are locked, corrected, selected or have children, and stay" : ''
        return ScriptRun.report(answer.report() + staying, hasChanged)
    }
}

/** Through which planes: as the setting says, else as the image has them; null where a person does not choose. */
def axisOf(server, axis) {
    def there = [z: server.nZSlices(), t: server.nTimepoints()].findAll { name, size -> size > 1 }.keySet() as List
    if (there.isEmpty())
        throw new IllegalStateException('The image is one plane: there is none to carry an outline to.')
    if (axis && !(axis in there))
        throw new IllegalStateException("The image has one plane along ${axis}. Set axis to '${there[0]}'.")
    if (axis || there.size() == 1)
        return axis ?: there[0]
    if (getQuPath() == null)
        throw new IllegalStateException("The image has planes along z and t. Set axis to 'z' or 't'.")
    return Dialogs.showChoiceDialog('SAM', 'Through which planes?', there, there[0])
}

/** The plane beside another one. */
def planeAt(plane, axis, place) {
    return axis == 'z' ? ImagePlane.getPlaneWithChannel(plane.getC(), place, plane.getT()) :
            ImagePlane.getPlaneWithChannel(plane.getC(), plane.getZ(), place)
}

/** What an earlier run has made of these annotations along an axis, on the planes of a range. */
def earlierOf(hierarchy, sources, axis, first, last) {
    def ids = sources.collect { it.getID().toString() } as Set
    return hierarchy.getAnnotationObjects().findAll {
        def at = axis == 'z' ? it.getROI()?.getZ() : it.getROI()?.getT()
        it.getMetadata()['qupath-sam.propagated_of'] in ids && it.getMetadata()['qupath-sam.propagated_along'] == axis && at >= first && at <= last
    }
}

/** What the server is asked about, as it is now: the answer may come long after. */
def askedAbout(imageData, objects) {
    def states = objects.findAll { it?.hasROI() }.collectEntries { [it.getID(), placeOf(it)] }
    return Asked.about(imageData, imagesInView(), isRunOverProject(), states)
}

/** Whether the script runs once for each of several images, or without a window: then no viewer need show its image. */
def isRunOverProject() {
    def known = { name -> getBinding().hasVariable(name) ? getBinding().getVariable(name) : null }
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
            imageData.getHierarchy().fireHierarchyChangedEvent(this)
        return report
    }
    return asked.wasOpen() ? WindowThread.call(writing) : writing()
}

/** Whether a person has work in an object of an earlier run: it is locked, has objects in it, or has been corrected. */
def isInUse(object) {
    return object.isLocked() || object.hasChildObjects() || Corrections.isCorrected(object.getMetadata(), object.getROI().getGeometry(),
            object.getPathClass(), object.getClassProbability(), object.getName(), object.getColor())
}

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

/** The object on another plane: class, name and colour as they are, with what made its outline and what it comes from. */
def annotationOn(found, axis) {
    def source = found.source(), plane = source.getROI().getImagePlane()
    def annotation = PathObjects.createAnnotationObject(roiOf(found.mask(), planeAt(plane, axis, found.plane())), source.getPathClass())
    annotation.setName(source.getName())
    annotation.setColor(source.getColor())
    annotation.getMeasurementList().put('SAM score', found.mask().score())
    Provenance.write(found.metadata(), annotation.getMetadata())
    annotation.getMetadata().putAll(['qupath-sam.propagated_from': "z ${plane.getZ()}, t ${plane.getT()}".toString(),
            'qupath-sam.propagated_of': source.getID().toString(), 'qupath-sam.propagated_along': axis])
    annotation.getMetadata().putAll(Corrections.marks(annotation.getROI().getGeometry(), annotation.getPathClass(), annotation.getName(), annotation.getColor()))
    return annotation
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

/** Notes what was done in the image's workflow: "Create script" there writes it down, with its settings. */
def note(imageData, title, script, settings) {
    imageData.getHistoryWorkflow().addStep(new DefaultScriptableWorkflowStep(title, ScriptTexts.step(script, settings)))
}

/** The outline as QuPath's region of interest on a plane. */
def roiOf(mask, plane) {
    return GeometryTools.geometryToROI(new WKBReader(GeometryTools.getDefaultFactory()).read(mask.wkb()), plane)
}
