/*
 * Refine selected outlines in place.
 *
 * 1. Start the server (`qupath-sam serve`) and install the client jar (`qupath-sam install-qupath`).
 * 2. Select one or more annotations (or detections) with an outline.
 * 3. Run. Each outline is replaced by the model's; plane, name, class, lock, children, id and the measurements that do not depend on shape
 *    stay. Everything is one step of undo.
 */
import io.github.qupathsam.client.*
import io.github.qupathsam.extension.*
import org.locationtech.jts.io.WKBReader
import qupath.lib.display.ImageDisplay
import qupath.lib.images.servers.ImageServerBuilder.ServerBuilder
import qupath.lib.plugins.workflow.DefaultScriptableWorkflowStep

// Settings
def model = ''               // empty: the project's choice, or else the server's default
def lockedToo = false        // change locked objects as well
// point: tell the model one in the middle as well, not for models without clicks; then what a new outline must fulfil (IoU with the old
// one, of each part and hole, times by which the area may change), as for `qupath-sam project refine`
def refining = [point: true, minIoU: 0.5, minPartIoU: 0.5, maxAreaChange: 2]
// clean: holes and parts below this share of the old outline go; the others are um2, um2, um (px2 and px without a pixel size)
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
    def objects = getSelectedObjects().findAll { it.hasROI() && it.getROI().isArea() }
    if (objects.isEmpty())
        throw new IllegalStateException('No outline is selected. Select annotations with an area.')
    def open = objects.findAll { lockedToo || !it.isLocked() }
    def asked = askedAbout(imageData, open)

    // 1. Ask the server, plane by plane; nothing changes before every answer is there
    def refinement = SamClient.connect(ProjectSettings.of(getProject()?.getPath())).withCloseable { client ->
        Refinement.joined(open.groupBy { it.getROI().getImagePlane() }.collect { plane, onPlane ->
            def outlines = onPlane.collectEntries { [it, Outlines.wkb(it.getROI().getGeometry())] }
            def howTo = RefineOptions.of(refining + [alongBorder: true]) // they have been selected, also the large ones
            client.refine(samImageOf(imageData, plane), outlines, PredictOptions.of(options + [model: model]), howTo)
        })
    }

    // 2. Replace, with one change of the hierarchy
    // QuPath itself says that the hierarchy has changed when a script ends; said here as well, it is a second step of undo.
    return writeAnswer(asked) { imageNow, asTheyWere ->
        def replaced = refinement.refined().findAll { lockedToo ? asTheyWere[it.source().getID()] : asTheyWere[it.source().getID()]?.isLocked() == false }
        replaced.each { replaceOutline(asTheyWere[it.source().getID()], it.mask(), it.metadata()) }
        if (replaced)
            note(imageNow, 'SAM: refine selected', 'refine_selected', refining + options + [model: model, lockedToo: lockedToo])
        def others = refinement.refined().size() - replaced.size()
        def stay = others ? "; ${others} of them have been changed meanwhile, and stay as they are" : ''
        return ScriptRun.report(refinement.report(objects.size() - open.size()) + stay, !replaced.isEmpty())
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

/** Gives an object another outline on its plane; all else stays, but for measurements that the new shape makes wrong. */
def replaceOutline(object, mask, metadata) {
    def kept = ShapeMeasurements.kept(object.getMeasurements()) // first: setROI empties them
    object.setROI(roiOf(mask, object.getROI().getImagePlane()))
    kept.each { name, value -> object.getMeasurementList().put(name, value.doubleValue()) }
    object.getMeasurementList().put('SAM score', mask.score())
    if (object.isAnnotation())
        Provenance.write(metadata, object.getMetadata())
}

/** Notes what was done in the image's workflow: "Create script" there writes it down, with its settings. */
def note(imageData, title, script, settings) {
    imageData.getHistoryWorkflow().addStep(new DefaultScriptableWorkflowStep(title, ScriptTexts.step(script, settings)))
}

/** The outline as QuPath's region of interest on a plane. */
def roiOf(mask, plane) {
    return GeometryTools.geometryToROI(new WKBReader(GeometryTools.getDefaultFactory()).read(mask.wkb()), plane)
}
