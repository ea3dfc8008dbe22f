/*
 * Outline everything in the regions of every image of a project.
 *
 * 1. Start the server (`qupath-sam serve`) and install the client jar (`qupath-sam install-qupath`).
 * 2. In each image draw regions of the classes below.
 * 3. Run for project in the script editor. Or without a window: QuPath script --save -p P.qpproj everything_for_project.groovy
 *    It works on that image's own data, prints what it did, and ends with exit 1 if any image failed. What was found becomes detections
 *    below the region. The image's data is copied first, to .qupath-sam/script-backups beside the project.
 */
import io.github.qupathsam.client.*
import io.github.qupathsam.extension.*

// Settings
def regionClasses = ['Region*']   // names of classes whose annotations are regions
def model = ''                    // empty: the project's choice, or else the server's default
def foundClass = ''             // class of what is found; empty: none
def asAnnotations = false         // annotations instead of detections
def replaceEarlier = true         // take away what an earlier run has found in the region
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

// What the scripts have in common is in the jar, in the files of `groovy/shared`.
sam = ScriptTexts.shared(getCoreClasses(), { text -> new GroovyClassLoader(ScriptTexts.classLoader).tap { parseClass(text) } }).loadClass('Found')
        .newInstance(script: this)

ProjectRun.image(getCurrentImageName(), getQuPath() == null, { println it }, { Dialogs.showErrorNotification('SAM', it) }) {
    def imageData = getCurrentImageData()
    if (imageData == null)
        throw new IllegalStateException('No image is open. Open one, or choose "Run for project".')

    // 1. Regions
    def regions = getAnnotationObjects().findAll { it.getROI()?.isArea() && it.getPathClass()?.toString() in regionClasses }
    if (regions.isEmpty())
        return "no regions of class ${regionClasses.join(', ')}".toString()
    def asked = sam.askedAbout(imageData, regions)
    def places = regions.collect { sam.placeAsked(it, it.getROI().getImagePlane()) }

    // 2. Ask the server, region by region; nothing changes before every answer is there
    def answers = SamClient.connect(ProjectSettings.of(getProject()?.getPath())).withCloseable { client ->
        places.collect { place ->
            def task = client.region(sam.samImageOf(imageData, place.plane), Outlines.wkb(place.outline), [], RegionOptions.of(options + [model: model]))
            [place, sam.withProgress("${getCurrentImageName()}, ${place.name}", task)]
        }
    }

    // 3. One change of the hierarchy
    // QuPath itself says that the hierarchy has changed when a script ends; said here as well, it is a second step of undo.
    sam.backUp()
    def pathClass = foundClass ? getPathClass(foundClass) : null
    def found = answers.collect { place, answer ->
        def objects = sam.objectsOf(answer, place.plane, pathClass, asAnnotations, imageData)
        sam.markFound(objects, 'everything', pathClass) // a later run replaces what has it
        return [place, answer, objects]
    }
    def ids = regions.collect { it.getID() } as Set // a region in another one may be of an earlier run
    return sam.writeAnswer(asked) { imageNow, asTheyWere ->
        def changes = found.collect { place, answer, objects ->
            def isEarlier = { replaceEarlier && sam.isOfEarlierRun(it, place.plane, 'everything', pathClass, asAnnotations) }
            def made = sam.changeOf(place, objects, imageNow, asTheyWere, isEarlier, { it.getID() in ids })
            return made + [report: answer.report() + made.said]
        }
        sam.makeChanges(changes)
        return changes.collect { it.report }.join('; ')
    }
}
