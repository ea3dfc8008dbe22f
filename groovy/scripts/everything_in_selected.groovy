/*
 * Outline everything in selected regions.
 *
 * 1. Start the server (`qupath-sam serve`) and install the client jar (`qupath-sam install-qupath`).
 * 2. Select one or several annotations with an area.
 * 3. Run. A window shows how far the work is; Cancel there changes nothing. What was found becomes detections below the region, with
 *    class, score and measurements of their shape. Everything is one step of undo; a second run replaces what the first one made.
 */
import io.github.qupathsam.client.*
import io.github.qupathsam.extension.*

// Settings
def model = ''               // empty: the project's choice, or else the server's default
def foundClass = ''          // class of what is found; empty: none
def asAnnotations = false    // annotations instead of detections
def replaceEarlier = true    // take away what an earlier run has found in the region
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

ScriptRun.of(getQuPath() == null, { println it }, { Dialogs.showErrorMessage('SAM', it) }) {
    def imageData = getCurrentImageData()
    if (imageData == null)
        throw new IllegalStateException('No image is open. Open one and select a region.')
    def regions = getSelectedObjects().findAll { it.isAnnotation() && it.getROI()?.isArea() }
    if (regions.isEmpty())
        throw new IllegalStateException('No region is selected. Select an annotation with an area.')
    def asked = sam.askedAbout(imageData, regions)
    def places = regions.collect { sam.placeAsked(it, it.getROI().getImagePlane()) }

    // 1. Ask the server, region by region; nothing changes before every answer is there
    def answers = SamClient.connect(ProjectSettings.of(getProject()?.getPath())).withCloseable { client ->
        places.collect { place ->
            def image = sam.samImageOf(imageData, place.plane)
            def task = client.region(image, Outlines.wkb(place.outline), [], RegionOptions.of(options + [model: model]))
            [place, sam.withProgress("everything in ${place.name}", task)]
        }
    }

    // 2. One change of the hierarchy
    // QuPath itself says that the hierarchy has changed when a script ends; said here as well, it is a second step of undo.
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
            return made + [report: "${place.name}: ${answer.report()}${made.said}"]
        }
        def hasChanged = sam.makeChanges(changes)
        if (hasChanged)
            sam.note(imageNow, 'SAM: everything in selected', 'everything_in_selected', options + [model: model, foundClass: foundClass,
                    asAnnotations: asAnnotations, replaceEarlier: replaceEarlier])
        return ScriptRun.report(changes.collect { it.report }.join('; '), hasChanged)
    }
}
