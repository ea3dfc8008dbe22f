/*
 * Find what looks like examples in every image of a project.
 *
 * 1. Start the server (`qupath-sam serve`) and install the client jar (`qupath-sam install-qupath`).
 * 2. In each image outline a few objects of the example classes below, or put points into some; objects of the other classes below are
 *    examples of what is not meant. Draw regions to look in; without one that is the whole image.
 * 3. Run for project in the script editor. Or without a window: QuPath script --save -p P.qpproj like_for_project.groovy
 *    It works on that image's own data, prints what it did, and ends with exit 1 if any image failed. What was found becomes detections
 *    below the region. The image's data is copied first, to .qupath-sam/script-backups beside the project.
 */
import io.github.qupathsam.client.*
import io.github.qupathsam.extension.*

// Settings
def exampleClasses = ['Example*']    // names of classes whose objects are examples
def otherClasses = ['Ignore*']       // names of classes whose objects are examples of what is not meant
def regionClasses = ['Region*']      // names of classes whose annotations are regions
def model = ''                       // empty: the project's choice, or else the server's default
def foundClass = ''                // class of what is found; empty: none
def asAnnotations = false            // annotations instead of detections
def replaceEarlier = true            // take away what an earlier run has found in the region
def minLikeness = 0                  // to the examples, 0 to 1; 0: what the examples suggest
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

// What the scripts have in common is in the jar, in the files of `groovy/shared`.
sam = ScriptTexts.shared(getCoreClasses(), { text -> new GroovyClassLoader(ScriptTexts.classLoader).tap { parseClass(text) } }).loadClass('Found')
        .newInstance(script: this)

ProjectRun.image(getCurrentImageName(), getQuPath() == null, { println it }, { Dialogs.showErrorNotification('SAM', it) }) {
    def imageData = getCurrentImageData()
    if (imageData == null)
        throw new IllegalStateException('No image is open. Open one, or choose "Run for project".')
    def hierarchy = imageData.getHierarchy()

    // 1. Examples, and where to look
    def shown = { classes -> hierarchy.getAllObjects(false).findAll {
        it.hasROI() && (it.getROI().isArea() || it.getROI().isPoint()) && it.getPathClass()?.toString() in classes
    } }
    def wanted = shown(exampleClasses), others = shown(otherClasses)
    if (wanted.isEmpty())
        return "no examples of class ${exampleClasses.join(', ')}".toString()
    def planes = wanted.collect { it.getROI().getImagePlane() }.unique()
    def regions = getAnnotationObjects().findAll { it.getROI()?.isArea() && it.getPathClass()?.toString() in regionClasses }
    def places = planes.collectMany { plane ->
        def inPlane = regions.findAll { it.getROI().getImagePlane() == plane }
        inPlane.isEmpty() ? [sam.placeAsked(null, plane)] : inPlane.collect { sam.placeAsked(it, plane) }
    }

    // 2. Ask the server, region by region; nothing changes before every answer is there
    def askedOf = sam.askedAbout(imageData, regions)
    def asked = options + [model: model] + (minLikeness ? [minLikeness: minLikeness] : [:])
    def answers = SamClient.connect(ProjectSettings.of(getProject()?.getPath())).withCloseable { client ->
        places.collect { place ->
            def examples = wanted.findAll { it.getROI().getImagePlane() == place.plane }.collectMany { sam.examplesOf(it, true) } +
                    others.findAll { it.getROI().getImagePlane() == place.plane }.collectMany { sam.examplesOf(it, false) }
            def where = place.outline == null ? null : Outlines.wkb(place.outline)
            def task = client.region(sam.samImageOf(imageData, place.plane), where, examples, RegionOptions.of(asked))
            [place, sam.withProgress("${getCurrentImageName()}, all like ${examples.size()} examples", task)]
        }
    }

    // 3. One change of the hierarchy
    // QuPath itself says that the hierarchy has changed when a script ends; said here as well, it is a second step of undo.
    sam.backUp()
    def pathClass = foundClass ? getPathClass(foundClass) : null
    def known = wanted.findAll { it.getROI().isArea() }.collect { it.getROI().getGeometry() }
    def found = answers.collect { place, answer ->
        def objects = sam.objectsOf(answer, place.plane, pathClass, asAnnotations, imageData)
        sam.markFound(objects, 'like', pathClass) // a later run replaces what has it
        return [place, answer, objects.findAll { object -> !known.any { Outlines.areSame(it, object.getROI().getGeometry()) } }]
    }
    def ids = (wanted + others + regions).collect { it.getID() } as Set
    return sam.writeAnswer(askedOf) { imageNow, asTheyWere ->
        def changes = found.collect { place, answer, objects ->
            def isEarlier = { replaceEarlier && sam.isOfEarlierRun(it, place.plane, 'like', pathClass, asAnnotations) }
            def made = sam.changeOf(place, objects, imageNow, asTheyWere, isEarlier, { it.getID() in ids })
            return made + [report: answer.report() + made.said]
        }
        sam.makeChanges(changes)
        return changes.collect { it.report }.join('; ')
    }
}
