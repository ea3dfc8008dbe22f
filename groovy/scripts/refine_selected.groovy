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

// What the scripts have in common is in the jar, in the files of `groovy/shared`.
sam = ScriptTexts.shared(getCoreClasses(), { text -> new GroovyClassLoader(ScriptTexts.classLoader).tap { parseClass(text) } }).loadClass('Answers')
        .newInstance(script: this)

ScriptRun.of(getQuPath() == null, { println it }, { Dialogs.showErrorMessage('SAM', it) }) {
    def imageData = getCurrentImageData()
    if (imageData == null)
        throw new IllegalStateException('No image is open. Open one and select outlines.')
    def objects = getSelectedObjects().findAll { it.hasROI() && it.getROI().isArea() }
    if (objects.isEmpty())
        throw new IllegalStateException('No outline is selected. Select annotations with an area.')
    def open = objects.findAll { lockedToo || !it.isLocked() }
    def asked = sam.askedAbout(imageData, open)

    // 1. Ask the server, plane by plane; nothing changes before every answer is there
    def refinement = SamClient.connect(ProjectSettings.of(getProject()?.getPath())).withCloseable { client ->
        Refinement.joined(open.groupBy { it.getROI().getImagePlane() }.collect { plane, onPlane ->
            def outlines = onPlane.collectEntries { [it, Outlines.wkb(it.getROI().getGeometry())] }
            def howTo = RefineOptions.of(refining + [alongBorder: true]) // they have been selected, also the large ones
            client.refine(sam.samImageOf(imageData, plane), outlines, PredictOptions.of(options + [model: model]), howTo)
        })
    }

    // 2. Replace, with one change of the hierarchy
    // QuPath itself says that the hierarchy has changed when a script ends; said here as well, it is a second step of undo.
    return sam.writeAnswer(asked) { imageNow, asTheyWere ->
        def replaced = refinement.refined().findAll { lockedToo ? asTheyWere[it.source().getID()] : asTheyWere[it.source().getID()]?.isLocked() == false }
        replaced.each { sam.replaceOutline(asTheyWere[it.source().getID()], it.mask(), it.metadata()) }
        if (replaced)
            sam.note(imageNow, 'SAM: refine selected', 'refine_selected', refining + options + [model: model, lockedToo: lockedToo])
        def others = refinement.refined().size() - replaced.size()
        def stay = others ? "; ${others} of them have been changed meanwhile, and stay as they are" : ''
        return ScriptRun.report(refinement.report(objects.size() - open.size()) + stay, !replaced.isEmpty())
    }
}
