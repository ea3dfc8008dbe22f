/*
 * Find all objects that look like the selected ones.
 *
 * 1. Start the server (`qupath-sam serve`) and install the client jar (`qupath-sam install-qupath`).
 * 2. Select a few objects with an outline, or points in some: the more, the better. Objects of a class that QuPath ignores (its name ends
 *    with *) are examples of what is not meant. A selected annotation that contains other selected ones is the region to look in; without
 *    one that is the annotation that they lie in, or the whole image.
 * 3. Run. A window shows how far the work is; Cancel there changes nothing. What was found becomes detections of the examples' class, with
 *    score, likeness and measurements of their shape; what overlaps an example is left out. Everything is one step of undo; a second run
 *    replaces what the first one made, but for what is locked or corrected by hand.
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
def foundClass = ''          // class of what is found; empty: that of the examples
def asAnnotations = false    // annotations instead of detections
def replaceEarlier = true    // take away what an earlier run has found there of the same class
def minLikeness = 0          // to the examples, 0 to 1; 0: what the examples suggest
// minObjectArea and maxObjectArea: um2 (px2 without a pixel size), 0 for no limit; effort: 'best' or 'fast'; searchBackground: also where there is no
// tissue; others are as in RegionOptions
def options = [minObjectArea: 0, maxObjectArea: 0, fillHoles: 0, simplify: 0, downsample: 0, mpp: 0, effort: 'best', searchBackground: false]

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
        throw new IllegalStateException('No image is open. Open one and select examples.')

    // 1. Examples, and where to look
    def selected = getSelectedObjects().findAll { it.hasROI() && (it.getROI().isArea() || it.getROI().isPoint()) }
    def region = selected.find { around ->
        around.isAnnotation() && around.getROI().isArea() && selected.size() > 1 &&
                selected.every { it == around || around.getROI().getGeometry().covers(it.getROI().getGeometry()) }
    }
    def examples = selected.findAll { it != region }
    if (!examples.any { !isIgnored(it) })
        throw new IllegalStateException('No example is selected. Select objects with an outline, or points in some.')
    def plane = examples[0].getROI().getImagePlane()
    if (examples.any { it.getROI().getImagePlane() != plane })
        throw new IllegalStateException('The examples lie on several planes. Select those of one.')
    region = region ?: parentOf(examples)
    def asked = askedAbout(imageData, [region])
    def place = placeAsked(region, plane)

    // 2. Ask the server; nothing changes before the answer is there
    def wanted = options + [model: model] + (minLikeness ? [minLikeness: minLikeness] : [:])
    def answer = SamClient.connect(ProjectSettings.of(getProject()?.getPath())).withCloseable { client ->
        def where = place.outline == null ? null : Outlines.wkb(place.outline)
        def task = client.region(samImageOf(imageData, plane), where, examples.collectMany { examplesOf(it, !isIgnored(it)) }, RegionOptions.of(wanted))
        withProgress("all like ${examples.size()} selected", task)
    }

    // 3. One change of the hierarchy
    // QuPath itself says that the hierarchy has changed when a script ends; said here as well, it is a second step of undo.
    def positive = examples.find { !isIgnored(it) }
    def pathClass = foundClass ? getPathClass(foundClass) : positive.getPathClass()
    def known = examples.findAll { it.getROI().isArea() }.collect { it.getROI().getGeometry() }
    def objects = objectsOf(answer, plane, pathClass, asAnnotations, imageData)
    def others = objects.findAll { object -> !known.any { Outlines.areSame(it, object.getROI().getGeometry()) } }
    markFound(others, 'like', pathClass) // a later run replaces what has it
    def ids = selected.collect { it.getID() } as Set
    return writeAnswer(asked) { imageNow, asTheyWere ->
        def isEarlier = { replaceEarlier && isOfEarlierRun(it, plane, 'like', pathClass, asAnnotations) }
        def made = changeOf(place, others, imageNow, asTheyWere, isEarlier, { it.getID() in ids || it.getID() == place.id })
        def hasChanged = makeChanges([made])
        if (hasChanged)
            note(imageNow, 'SAM: all like selected', 'like_selected', options + [model: model, foundClass: foundClass,
                    asAnnotations: asAnnotations, minLikeness: minLikeness, replaceEarlier: replaceEarlier])
        return ScriptRun.report("${answer.report()}, ${objects.size() - others.size()} of them examples${made.said}", hasChanged)
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

def isIgnored(annotation) {
    return annotation.getPathClass() != null && PathClassTools.isIgnoredClass(annotation.getPathClass())
}

/** The annotation with an area that all examples lie below; null where there is none. */
def parentOf(examples) {
    def parents = examples.collect { it.getParent() }.unique()
    return parents.size() == 1 && parents[0].isAnnotation() && parents[0].getROI()?.isArea() ? parents[0] : null
}

/** An object's outline, or its points, as examples. */
def examplesOf(object, wanted) {
    def roi = object.getROI()
    return roi.isPoint() ? roi.getAllPoints().collect { Example.click(it.getX(), it.getY(), wanted) } :
            [Example.outline(Outlines.wkb(roi.getGeometry()), wanted)]
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
