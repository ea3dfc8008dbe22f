/*
 * Outline everything in selected regions.
 *
 * 1. Start the server (`qupath-sam serve`) and install the client jar (`qupath-sam install-qupath`).
 * 2. Select one or several annotations with an area.
 * 3. Run. A window shows how far the work is; Cancel there changes nothing. What was found becomes detections below the region, with
 *    class, score and measurements of their shape. Everything is one step of undo; a second run replaces what the first one made.
 */
import io.github.qupathsam.client.*
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
import qupath.lib.analysis.features.ObjectMeasurements
import qupath.lib.display.ImageDisplay
import qupath.lib.images.servers.ImageServerBuilder.ServerBuilder
import io.github.qupathsam.extension.*
import qupath.lib.plugins.workflow.DefaultScriptableWorkflowStep

// Settings
def model = ''               // empty: the project's choice, or else the server's default
def foundClass = ''          // class of what is found; empty: none
def asAnnotations = false    // annotations instead of detections
def replaceEarlier = true    // take away what an earlier run has found in the region
// minObjectArea and maxObjectArea: um2 (px2 without a pixel size), 0 for no limit; objects: 'nuclei' or 'glands'; effort: 'best' or 'fast';
// leaveOutBorder: what crosses the region's border; cut: cut it there; searchBackground: also where there is no tissue; others are as in RegionOptions
def options = [minObjectArea: 0, maxObjectArea: 0, fillHoles: 0, simplify: 0, downsample: 0, mpp: 0, objects: 'nuclei', effort: 'best', leaveOutBorder: false, cut: false, searchBackground: false]

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
        throw new IllegalStateException('No image is open. Open one and select a region.')
    def regions = getSelectedObjects().findAll { it.isAnnotation() && it.getROI()?.isArea() }
    if (regions.isEmpty())
        throw new IllegalStateException('No region is selected. Select an annotation with an area.')
    def asked = askedAbout(imageData, regions)
    def places = regions.collect { placeAsked(it, it.getROI().getImagePlane()) }

    // 1. Ask the server, region by region; nothing changes before every answer is there
    def answers = SamClient.connect(ProjectSettings.of(getProject()?.getPath())).withCloseable { client ->
        places.collect { place ->
            def image = samImageOf(imageData, place.plane)
            def task = client.region(image, Outlines.wkb(place.outline), [], RegionOptions.of(options + [model: model]))
            [place, withProgress("everything in ${place.name}", task)]
        }
    }

    // 2. One change of the hierarchy
    // QuPath itself says that the hierarchy has changed when a script ends; said here as well, it is a second step of undo.
    def pathClass = foundClass ? getPathClass(foundClass) : null
    def found = answers.collect { place, answer ->
        def objects = objectsOf(answer, place.plane, pathClass, asAnnotations, imageData)
        markFound(objects, 'everything', pathClass) // a later run replaces what has it
        return [place, answer, objects]
    }
    def ids = regions.collect { it.getID() } as Set // a region in another one may be of an earlier run
    return writeAnswer(asked) { imageNow, asTheyWere ->
        def changes = found.collect { place, answer, objects ->
            def isEarlier = { replaceEarlier && isOfEarlierRun(it, place.plane, 'everything', pathClass, asAnnotations) }
            def made = changeOf(place, objects, imageNow, asTheyWere, isEarlier, { it.getID() in ids })
            return made + [report: "${place.name}: ${answer.report()}${made.said}"]
        }
        def hasChanged = makeChanges(changes)
        if (hasChanged)
            note(imageNow, 'SAM: everything in selected', 'everything_in_selected', options + [model: model, foundClass: foundClass,
                    asAnnotations: asAnnotations, replaceEarlier: replaceEarlier])
        return ScriptRun.report(changes.collect { it.report }.join('; '), hasChanged)
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

/** Marks what a script has found, so that its next run knows it again, and whether a person has corrected it since. */
def markFound(objects, what, pathClass) {
    objects.each { object ->
        def marks = ['qupath-sam.found': what] + Corrections.marks(object.getROI().getGeometry(), pathClass, null, null)
        try {
            object.getMetadata().putAll(marks)
        } catch (UnsupportedOperationException isUnmodifiable) { // of a detection in QuPath 0.5
            marks.each { key, value -> object.storeMetadataValue(key, value) }
        }
    }
}

/** Where objects are looked for, as it is when the server is asked: in a region, or, without one, in the whole image. */
def placeAsked(region, plane) {
    return [id: region?.getID(), name: region?.getDisplayedName(), plane: plane, outline: region?.getROI()?.getGeometry(),
            around: region?.getParent()?.getID()]
}

/** Whether an earlier run has found an object, by its mark; what is clicked, refined or found by other scripts does not have it. */
def isOfEarlierRun(object, plane, what, pathClass, asAnnotations) {
    return object.isAnnotation() == asAnnotations && object.getROI()?.getImagePlane() == plane && object.getMetadata()['qupath-sam.found'] == what &&
            (what != 'like' || object.getMetadata().getOrDefault('qupath-sam.found_class', String.valueOf(pathClass)) == String.valueOf(pathClass))
}

/**
 * What changes in a place: objects are added below {@code parent}, and others, of an earlier run, go. A region that has been edited meanwhile
 * takes what lies in it now. Where it is no longer there, what was found goes where it was; so what an earlier run has found in a region that has
 * been deleted since lies there, too.
 */
def changeOf(place, objects, imageNow, asTheyWere, isEarlier, stays) {
    def outlineOf = { it.getROI().getGeometry() }
    def root = imageNow.getHierarchy().getRootObject(), annotations = imageNow.getHierarchy().getAnnotationObjects()
    def around = annotations.find { it.getID() == place.around } ?: root
    def region = place.id == null ? root : annotations.find { it.getID() == place.id && it.getROI()?.isArea() && it.getROI().getImagePlane() == place.plane }
    def isEdited = place.id != null && region != null && !asTheyWere.containsKey(place.id)
    def beside = place.id == null ? [] : Outlines.lyingIn(around.getChildObjects().findAll(isEarlier), place.outline, outlineOf)
    def earlier = beside + (region == null ? [] : region.getChildObjects().findAll(isEarlier))
    def here = objects
    if (isEdited) { // what has not been looked for again, or has been and is not added, stays
        here = Outlines.lyingIn(objects, outlineOf(region), outlineOf)
        earlier = Outlines.lyingIn(Outlines.lyingIn(earlier, outlineOf(region), outlineOf), place.outline, outlineOf)
    }
    def (staying, replaced) = earlier.split { stays(it) || isInUse(it) }
    def said = staying ? ", ${staying.size()} of an earlier run stay" : ''
    if (isEdited)
        said += " (the region has been changed meanwhile: ${objects.size() - here.size()} outside of it are left out; run it again for what is new in it)"
    else if (region == null)
        said += ' (the region is no longer there: they are not below it)'
    return [parent: region ?: around, added: besides(here, staying), replaced: replaced, said: said]
}

/** Makes the changes of all places; whether there are any. What one place adds is no earlier run's to the next, so all that goes, goes first. */
def makeChanges(changes) {
    (changes.collectMany { it.replaced } as Set).groupBy { it.getParent() }.each { parent, objects -> parent.removeChildObjects(objects as Set) }
    changes.each { it.parent.addChildObjects(it.added) }
    return changes.any { it.replaced || it.added }
}

/** Whether a person has work in an object of an earlier run: it is locked, has objects in it, or has been corrected. */
def isInUse(object) {
    return object.isLocked() || object.hasChildObjects() || Corrections.isCorrected(object.getMetadata(), object.getROI().getGeometry(),
            object.getPathClass(), object.getClassProbability(), object.getName(), object.getColor())
}

/** Those that are not objects of an earlier run once more, which stay. */
def besides(objects, staying) {
    return Outlines.besides(objects, staying.collect { it.getROI().getGeometry() }, { it.getROI().getGeometry() })
}

/** The found objects, with class, score and the measurements of their shape; nothing is added to the image yet. */
def objectsOf(answer, plane, pathClass, asAnnotations, imageData) {
    def objects = answer.found().collect { found ->
        def object = asAnnotations ? PathObjects.createAnnotationObject(roiOf(found.mask(), plane), pathClass) :
                PathObjects.createDetectionObject(roiOf(found.mask(), plane), pathClass)
        object.getMeasurementList().put('SAM score', found.mask().score())
        if (!Double.isNaN(found.likeness()))
            object.getMeasurementList().put('SAM likeness', found.likeness())
        if (asAnnotations)
            Provenance.write(answer.metadata(), object.getMetadata())
        return object
    }
    ObjectMeasurements.addShapeMeasurements(objects, imageData.getServer().getPixelCalibration())
    return objects
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
