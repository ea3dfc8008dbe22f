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

// What the scripts have in common is in the jar, in the files of `groovy/shared`.
sam = ScriptTexts.shared(getCoreClasses(), { text -> new GroovyClassLoader(ScriptTexts.classLoader).tap { parseClass(text) } }).loadClass('Answers')
        .newInstance(script: this)

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
    def asked = sam.askedAbout(imageData, jobs.keySet() + jobs.values().flatten() + parents.values())
    def answers = SamClient.connect(ProjectSettings.of(getProject()?.getPath())).withCloseable { client ->
        jobs.collectMany { region, prompts ->
            def clip = region && clipToRegion ? [clip: Outlines.wkb(region.getROI().getGeometry())] : [:]
            prompts.groupBy { it.getROI().getImagePlane() }.collect { plane, onPlane ->
                def shapes = onPlane.collect { sam.promptOf(it) }
                [region, client.segment(sam.samImageOf(imageData, plane), shapes, PredictOptions.of(options + [model: model] + clip))]
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
    return sam.writeAnswer(asked) { imageNow, asTheyWere ->
        def hierarchy = imageNow.getHierarchy()
        def added = answers.collectMany { region, answer ->
            answer.outlined().collect { outlined ->
                def source = outlined.source()
                def annotation = sam.annotationOf(outlined, source.getPathClass() ?: region?.getPathClass())
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
            sam.note(imageNow, 'SAM: segment selected', 'segment_selected', options + [model: model, clipToRegion: clipToRegion,
                    keepPrompts: keepPrompts, brushStrokes: brushStrokes])
        }
        return ScriptRun.report(segmentation.report(), !added.isEmpty())
    }
}

/** The rectangle round an area, as far as it lies in the image. */
def boxInImage(roi, server) {
    return PixelBox.between(Math.max(0, roi.getBoundsX()), Math.max(0, roi.getBoundsY()),
            Math.min(server.getWidth(), roi.getBoundsX() + roi.getBoundsWidth()), Math.min(server.getHeight(), roi.getBoundsY() + roi.getBoundsHeight()))
}
