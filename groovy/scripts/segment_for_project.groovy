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

// What the scripts have in common is in the jar, in the files of `groovy/shared`.
sam = ScriptTexts.shared(getCoreClasses(), { text -> new GroovyClassLoader(ScriptTexts.classLoader).tap { parseClass(text) } }).loadClass('Answers')
        .newInstance(script: this)

ProjectRun.image(getCurrentImageName(), getQuPath() == null, { println it }, { Dialogs.showErrorNotification('SAM', it) }) {
    def imageData = getCurrentImageData()
    if (imageData == null)
        throw new IllegalStateException('No image is open. Open one, or choose "Run for project".')

    // 1. Prompts: drawn by a person, not locked, of the wanted or an ignored class
    def prompts = getAnnotationObjects().findAll {
        def roi = it.getROI()
        roi != null && !it.isLocked() && !Provenance.isIn(it.getMetadata()) &&
                (roi.isPoint() || roi.isLine() || roi instanceof RectangleROI) &&
                (it.getPathClass()?.toString() in promptClasses || (sam.isIgnored(it) && !roi.isArea()))
    }
    def planes = prompts.groupBy { it.getROI().getImagePlane() }.findAll { plane, onPlane -> !onPlane.every { sam.isIgnored(it) } }

    if (!planes)
        return "no prompts of class ${promptClasses.join(', ')}".toString()

    // 2. Ask the server, plane by plane; nothing changes before every answer is there
    def parents = prompts.collectEntries { [it.getID(), it.getParent()] }
    def asked = sam.askedAbout(imageData, prompts + parents.values())
    def segmentation = SamClient.connect(ProjectSettings.of(getProject()?.getPath())).withCloseable { client ->
        Segmentation.joined(planes.collect { plane, onPlane ->
            client.segment(sam.samImageOf(imageData, plane), onPlane.collect { sam.promptOf(it) }, PredictOptions.of(options + [model: model, batch: true]))
        })
    }

    // 3. One change of the hierarchy; what is of another class, or has objects in it, stays
    // QuPath itself says that the hierarchy has changed when a script ends; said here as well, it is a second step of undo.
    if (segmentation.outlined())
        sam.backUp()
    return sam.writeAnswer(asked) { imageNow, asTheyWere ->
        def hierarchy = imageNow.getHierarchy()
        segmentation.outlined().each { outlined ->
            def source = outlined.source()
            def pathClass = outlineClass ? getPathClass(outlineClass) : source.getPathClass()
            def parent = asTheyWere[parents[source.getID()]?.getID()]
            hierarchy.addObjectBelowParent(parent ?: hierarchy.getRootObject(), sam.annotationOf(outlined, pathClass), false)
        }
        if (!keepPrompts)
            segmentation.used().collect { asTheyWere[it.getID()] }.findAll {
                it && !it.isLocked() && !it.hasChildObjects() && it.getPathClass().toString() - '*' in promptClasses
            }.each { hierarchy.removeObjectWithoutUpdate(it, true) }
        return segmentation.report()
    }
}
