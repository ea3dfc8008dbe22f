/*
 * Turn points, lines, brush strokes and rectangles into outlines.
 *
 * 1. Start the server (`qupath-sam serve`) and install the client jar (`qupath-sam install-qupath`).
 * 2. Draw prompts: a point or line in the object, a brush stroke along it, or a rectangle round it. Each is one object; what lies in a
 *    rectangle refines it. A class that QuPath ignores (its name ends with *) says "not this".
 * 3. Select the prompts. Or select a region: the points, lines and rectangles in it, and rectangles closely round it, are taken, and the
 *    outlines become its children; other areas in it may be outlines of yours, and are strokes only where they are selected too. A selected
 *    rectangle or stroke without prompts and other objects in it is a prompt itself.
 *    What is larger than a window of the model is no prompt: a sentence says so, and it stays.
 * 4. Run. Everything is one step of undo.
 */
import io.github.qupathsam.client.*
import io.github.qupathsam.extension.*
import org.locationtech.jts.io.WKBReader
import qupath.lib.display.ImageDisplay
import qupath.lib.images.servers.ImageServerBuilder.ServerBuilder
import qupath.lib.plugins.workflow.DefaultScriptableWorkflowStep
import qupath.lib.roi.RectangleROI

// Settings
def model = ''               // empty: the project's choice, or else the server's default
def clipToRegion = true      // cut outlines to the selected region
def keepPrompts = false      // keep points, lines, strokes and rectangles that became an outline
def brushStrokes = true      // selected areas other than rectangles are strokes along an object
def options = [minArea: 0, fillHoles: 0, simplify: 0, downsample: 0, mpp: 0]   // um2, um2, um (px2 and px without a pixel size)

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
        throw new IllegalStateException('No image is open. Open one, draw prompts and select them.')
    def selected = getSelectedObjects().findAll { it.isAnnotation() }
    if (selected.isEmpty())
        throw new IllegalStateException('Nothing is selected. Select prompts, or a region with prompts in it.')

    /** Whether an annotation can be a prompt: drawn by a person, and not locked. */
    def isPrompt = { it.hasROI() && !it.isLocked() && !Provenance.isIn(it.getMetadata()) }

    // 1. Which prompts belong to which region (null: to none)
    def jobs = [:].withDefault { [] }
    def taken = [] as Set
    for (region in selected.findAll { it.getROI().isArea() }.sort { -it.getROI().getArea() }) { // what a larger one takes is no region
        if (region in taken)
            continue
        def roi = region.getROI()
        def inside = getAnnotationObjects().findAll {
            if (it == region || !isPrompt(it) || it.getROI().getImagePlane() != roi.getImagePlane() || (it in taken && it.getROI().isArea()))
                return false
            if (it in selected && it.getROI().isArea())
                return (brushStrokes || it.getROI() instanceof RectangleROI) && roi.getGeometry().covers(it.getROI().getGeometry())
            return (!it.getROI().isArea() || (it.getROI() instanceof RectangleROI && it.getROI().getArea() < 4 * roi.getArea())) &&
                    roi.getGeometry().intersects(it.getROI().getGeometry())
        }
        if (inside)
            jobs[region] = inside
        else if (isPrompt(region) && !region.hasChildObjects() && (brushStrokes || roi instanceof RectangleROI))
            jobs[null] << region
        else
            throw new IllegalStateException("There is no prompt in ${region.getDisplayedName()}. Draw a point, line, stroke or " +
                    'rectangle of yours in it, or run refine_selected to redraw its outline.')
        taken.addAll(inside)
    }
    jobs[null].addAll(selected.findAll { !it.getROI().isArea() && isPrompt(it) && !(it in taken) })
    if (!jobs.any { region, prompts -> prompts })
        throw new IllegalStateException('What is selected is locked, or a model has drawn it. Select prompts of your own.')

    // 2. Ask the server, plane by plane; nothing changes before every answer is there
    def parents = jobs.collectMany { region, prompts -> prompts.collect { [it.getID(), it.getParent()] } }.collectEntries()
    def asked = askedAbout(imageData, jobs.keySet() + jobs.values().flatten() + parents.values())
    def answers = SamClient.connect(ProjectSettings.of(getProject()?.getPath())).withCloseable { client ->
        jobs.collectMany { region, prompts ->
            def clip = region && clipToRegion ? [clip: Outlines.wkb(region.getROI().getGeometry())] : [:]
            prompts.groupBy { it.getROI().getImagePlane() }.collect { plane, onPlane ->
                def shapes = onPlane.collect { promptOf(it) }
                [region, client.segment(samImageOf(imageData, plane), shapes, PredictOptions.of(options + [model: model] + clip))]
            }
        }
    }
    def segmentation = Segmentation.joined(answers.collect { it[1] })
    def large = keepPrompts ? null : segmentation.outlined().collectMany { outlined ->
        outlined.sources().findAll { it.getROI().isArea() && !outlined.isSeenWhole(boxInImage(it.getROI(), imageData.getServer())) }
    }.find()
    if (large)
        throw new IllegalStateException("${large.getDisplayedName()} is larger than the window in which the model sees it, so no outline takes " +
                'its place. Draw prompts in it, run everything_in_selected, or set keepPrompts to true.')

    // 3. One change of the hierarchy; a prompt in which other objects lie, or that has been changed meanwhile, stays
    // QuPath itself says that the hierarchy has changed when a script ends; said here as well, it is a second step of undo.
    return writeAnswer(asked) { imageNow, asTheyWere ->
        def hierarchy = imageNow.getHierarchy()
        def added = answers.collectMany { region, answer ->
            answer.outlined().collect { outlined ->
                def source = outlined.source()
                def annotation = annotationOf(outlined, source.getPathClass() ?: region?.getPathClass())
                def parent = asTheyWere[(region ?: parents[source.getID()])?.getID()]
                hierarchy.addObjectBelowParent(parent ?: hierarchy.getRootObject(), annotation, false)
                return annotation
            }
        }
        if (!keepPrompts)
            segmentation.used().collect { asTheyWere[it.getID()] }.findAll { it && !it.isLocked() && !it.hasChildObjects() }
                    .each { hierarchy.removeObjectWithoutUpdate(it, true) }
        if (added) {
            hierarchy.getSelectionModel().setSelectedObjects(added, null)
            note(imageNow, 'SAM: segment selected', 'segment_selected', options + [model: model, clipToRegion: clipToRegion,
                    keepPrompts: keepPrompts, brushStrokes: brushStrokes])
        }
        return ScriptRun.report(segmentation.report(), !added.isEmpty())
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

/** The rectangle round an area, as far as it lies in the image. */
def boxInImage(roi, server) {
    return PixelBox.between(Math.max(0, roi.getBoundsX()), Math.max(0, roi.getBoundsY()),
            Math.min(server.getWidth(), roi.getBoundsX() + roi.getBoundsWidth()), Math.min(server.getHeight(), roi.getBoundsY() + roi.getBoundsHeight()))
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

/** Notes what was done in the image's workflow: "Create script" there writes it down, with its settings. */
def note(imageData, title, script, settings) {
    imageData.getHistoryWorkflow().addStep(new DefaultScriptableWorkflowStep(title, ScriptTexts.step(script, settings)))
}

/** The outline as QuPath's region of interest on a plane. */
def roiOf(mask, plane) {
    return GeometryTools.geometryToROI(new WKBReader(GeometryTools.getDefaultFactory()).read(mask.wkb()), plane)
}
