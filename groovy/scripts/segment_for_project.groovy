/*
 * Turn prompts into outlines in every image of a project.
 *
 * 1. Start the server (`qupath-sam serve`) and install the client jar (`qupath-sam install-qupath`).
 * 2. In each image draw prompts of the class SAM: points and lines in objects, rectangles round them. What lies in a rectangle refines it;
 *    points and lines of a class that QuPath ignores (its name ends with *) say "not this", and go only where it is SAM*.
 * 3. Run for project in the script editor. Or without a window: QuPath script --save -p P.qpproj segment_for_project.groovy
 *    It works on that image's own data, prints what it did, and ends with exit 1 if any image failed. Each answer is a new object. The
 *    image's data is copied first, to .qupath-sam/script-backups beside the project.
 */
import io.github.qupathsam.client.*
import io.github.qupathsam.extension.*
import org.locationtech.jts.io.WKBReader
import qupath.lib.display.ImageDisplay
import qupath.lib.images.servers.ImageServerBuilder.ServerBuilder
import qupath.lib.roi.RectangleROI

// Settings
def promptClasses = ['SAM']  // names of classes whose points, lines and rectangles are prompts
def outlineClass = ''        // class of the outlines; empty: that of their prompts
def model = ''               // empty: the project's choice, or else the server's default
def keepPrompts = false      // keep the points, lines and rectangles that became an outline (those with objects in them stay in any case)
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

ProjectRun.image(getCurrentImageName(), getQuPath() == null, { println it }, { Dialogs.showErrorNotification('SAM', it) }) {
    def imageData = getCurrentImageData()
    if (imageData == null)
        throw new IllegalStateException('No image is open. Open one, or choose "Run for project".')

    // 1. Prompts: drawn by a person, not locked, of the wanted or an ignored class
    def prompts = getAnnotationObjects().findAll {
        def roi = it.getROI()
        roi != null && !it.isLocked() && !Provenance.isIn(it.getMetadata()) &&
                (roi.isPoint() || roi.isLine() || roi instanceof RectangleROI) &&
                (it.getPathClass()?.toString() in promptClasses || (isIgnored(it) && !roi.isArea()))
    }
    def planes = prompts.groupBy { it.getROI().getImagePlane() }.findAll { plane, onPlane -> !onPlane.every { isIgnored(it) } }

    if (!planes)
        return "no prompts of class ${promptClasses.join(', ')}".toString()

    // 2. Ask the server, plane by plane; nothing changes before every answer is there
    def parents = prompts.collectEntries { [it.getID(), it.getParent()] }
    def asked = askedAbout(imageData, prompts + parents.values())
    def segmentation = SamClient.connect(ProjectSettings.of(getProject()?.getPath())).withCloseable { client ->
        Segmentation.joined(planes.collect { plane, onPlane ->
            client.segment(samImageOf(imageData, plane), onPlane.collect { promptOf(it) }, PredictOptions.of(options + [model: model, batch: true]))
        })
    }

    // 3. One change of the hierarchy; what is of another class, or has objects in it, stays
    // QuPath itself says that the hierarchy has changed when a script ends; said here as well, it is a second step of undo.
    if (segmentation.outlined())
        backUp()
    return writeAnswer(asked) { imageNow, asTheyWere ->
        def hierarchy = imageNow.getHierarchy()
        segmentation.outlined().each { outlined ->
            def source = outlined.source()
            def pathClass = outlineClass ? getPathClass(outlineClass) : source.getPathClass()
            def parent = asTheyWere[parents[source.getID()]?.getID()]
            hierarchy.addObjectBelowParent(parent ?: hierarchy.getRootObject(), annotationOf(outlined, pathClass), false)
        }
        if (!keepPrompts)
            segmentation.used().collect { asTheyWere[it.getID()] }.findAll {
                it && !it.isLocked() && !it.hasChildObjects() && it.getPathClass().toString() - '*' in promptClasses
            }.each { hierarchy.removeObjectWithoutUpdate(it, true) }
        return segmentation.report()
    }
}

def isIgnored(annotation) {
    return annotation.getPathClass() != null && PathClassTools.isIgnoredClass(annotation.getPathClass())
}

/** Copies the image's data as it was last saved; of an image in no project none is kept where it could be copied. */
def backUp() {
    if (getProjectEntry() != null)
        ProjectBackup.copy(getProject().getPath(), getProjectEntry().getEntryPath())
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

/** A new annotation for an answer, named as its prompt, with its score and what made it. */
def annotationOf(outlined, pathClass) {
    def source = outlined.source()
    def annotation = PathObjects.createAnnotationObject(roiOf(outlined.mask(), source.getROI().getImagePlane()), pathClass)
    annotation.setName(source.getName())
    annotation.getMeasurementList().put('SAM score', outlined.mask().score())
    Provenance.write(outlined.metadata(), annotation.getMetadata())
    return annotation
}

/** The outline as QuPath's region of interest on a plane. */
def roiOf(mask, plane) {
    return GeometryTools.geometryToROI(new WKBReader(GeometryTools.getDefaultFactory()).read(mask.wkb()), plane)
}
