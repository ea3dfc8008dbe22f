/*
 * Refine outlines of chosen classes in every image of a project.
 *
 * 1. Start the server (`qupath-sam serve`) and install the client jar (`qupath-sam install-qupath`).
 * 2. Set below which annotations are meant. (`qupath-sam project refine` does the same with undo and a report.)
 * 3. Run for project in the script editor. Or without a window: QuPath script --save -p P.qpproj refine_for_project.groovy
 *    It works on that image's own data, prints what it did, and ends with exit 1 if any image failed. The image's data is copied
 *    first, to .qupath-sam/script-backups beside the project.
 */
import io.github.qupathsam.client.*
import io.github.qupathsam.extension.*

// Settings
def classes = []             // names of classes to refine; empty: all but what has objects in it or is larger than a window.
                             // Of a named class such a large one is refined along its border
def names = ~/.*/            // annotation names to refine (those without a name have the name '')
def minOutlineArea = 0       // px2: smaller ones are left alone
def maxOutlineArea = Double.MAX_VALUE
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

ProjectRun.image(getCurrentImageName(), getQuPath() == null, { println it }, { Dialogs.showErrorNotification('SAM', it) }) {
    def imageData = getCurrentImageData()
    if (imageData == null)
        throw new IllegalStateException('No image is open. Open one, or choose "Run for project".')

    // 1. Which annotations
    def meant = getAnnotationObjects().findAll {
        it.getROI()?.isArea() && it.getROI().getArea() >= minOutlineArea && it.getROI().getArea() <= maxOutlineArea &&
                (classes ? it.getPathClass()?.toString() in classes : !it.hasChildObjects()) && (it.getName() ?: '') ==~ names
    }
    def open = meant.findAll { lockedToo || !it.isLocked() }
    def asked = sam.askedAbout(imageData, open)

    // 2. Ask the server, plane by plane; nothing changes before every answer is there
    def refinement = SamClient.connect(ProjectSettings.of(getProject()?.getPath())).withCloseable { client ->
        Refinement.joined(open.groupBy { it.getROI().getImagePlane() }.collect { plane, onPlane ->
            def outlines = onPlane.collectEntries { [it, Outlines.wkb(it.getROI().getGeometry())] }
            def howTo = RefineOptions.of(refining + [alongBorder: !classes.isEmpty()])
            client.refine(sam.samImageOf(imageData, plane), outlines, PredictOptions.of(options + [model: model, batch: true]), howTo)
        })
    }

    // 3. Replace, with one change of the hierarchy
    // QuPath itself says that the hierarchy has changed when a script ends; said here as well, it is a second step of undo.
    if (refinement.refined())
        sam.backUp()
    return sam.writeAnswer(asked) { imageNow, asTheyWere ->
        def replaced = refinement.refined().findAll { lockedToo ? asTheyWere[it.source().getID()] : asTheyWere[it.source().getID()]?.isLocked() == false }
        replaced.each { sam.replaceOutline(asTheyWere[it.source().getID()], it.mask(), it.metadata()) }
        def others = refinement.refined().size() - replaced.size()
        def stay = others ? "; ${others} of them have been changed meanwhile, and stay as they are" : ''
        return refinement.report(meant.size() - open.size()) + stay
    }
}
