/*
 * Find all objects that look like the selected ones.
 *
 * 1. Start the server (`qupath-sam serve`) and install the client jar (`qupath-sam install-qupath`).
 * 2. Select a few objects with an outline, or points in some: the more, the better. Objects of a class that QuPath ignores (its name ends
 *    with *) are examples of what is not meant. A selected annotation that contains other selected ones is the region to look in; without
 *    one that is the annotation that they lie in, or the whole image.
 * 3. Run. A window shows how far the work is; Cancel there changes nothing. What was found becomes detections of the examples' class, with
 *    score, likeness and measurements of their shape; what overlaps an example is left out. Everything is one step of undo; a second run
 *    replaces what the first one made, but for what is locked or corrected by hand.
 */
import io.github.qupathsam.client.*
import io.github.qupathsam.extension.*

// Settings
def model = ''               // empty: the project's choice, or else the server's default
def foundClass = ''          // class of what is found; empty: that of the examples
def asAnnotations = false    // annotations instead of detections
def replaceEarlier = true    // take away what an earlier run has found there of the same class
def minLikeness = 0          // to the examples, 0 to 1; 0: what the examples suggest
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

ScriptRun.of(getQuPath() == null, { println it }, { Dialogs.showErrorMessage('SAM', it) }) {
    def imageData = getCurrentImageData()
    if (imageData == null)
        throw new IllegalStateException('No image is open. Open one and select examples.')

    // 1. Examples, and where to look
    def selected = getSelectedObjects().findAll { it.hasROI() && (it.getROI().isArea() || it.getROI().isPoint()) }
    def region = selected.find { around ->
        around.isAnnotation() && around.getROI().isArea() && selected.size() > 1 &&
                selected.every { it == around || around.getROI().getGeometry().covers(it.getROI().getGeometry()) }
    }
    def examples = selected.findAll { it != region }
    if (!examples.any { !sam.isIgnored(it) })
        throw new IllegalStateException('No example is selected. Select objects with an outline, or points in some.')
    def plane = examples[0].getROI().getImagePlane()
    if (examples.any { it.getROI().getImagePlane() != plane })
        throw new IllegalStateException('The examples lie on several planes. Select those of one.')
    region = region ?: parentOf(examples)
    def asked = sam.askedAbout(imageData, [region])
    def place = sam.placeAsked(region, plane)

    // 2. Ask the server; nothing changes before the answer is there
    def wanted = options + [model: model] + (minLikeness ? [minLikeness: minLikeness] : [:])
    def answer = SamClient.connect(ProjectSettings.of(getProject()?.getPath())).withCloseable { client ->
        def where = place.outline == null ? null : Outlines.wkb(place.outline)
        def task = client.region(sam.samImageOf(imageData, plane), where, examples.collectMany { sam.examplesOf(it, !sam.isIgnored(it)) }, RegionOptions.of(wanted))
        sam.withProgress("all like ${examples.size()} selected", task)
    }

    // 3. One change of the hierarchy
    // QuPath itself says that the hierarchy has changed when a script ends; said here as well, it is a second step of undo.
    def positive = examples.find { !sam.isIgnored(it) }
    def pathClass = foundClass ? getPathClass(foundClass) : positive.getPathClass()
    def known = examples.findAll { it.getROI().isArea() }.collect { it.getROI().getGeometry() }
    def objects = sam.objectsOf(answer, plane, pathClass, asAnnotations, imageData)
    def others = objects.findAll { object -> !known.any { Outlines.areSame(it, object.getROI().getGeometry()) } }
    sam.markFound(others, 'like', pathClass) // a later run replaces what has it
    def ids = selected.collect { it.getID() } as Set
    return sam.writeAnswer(asked) { imageNow, asTheyWere ->
        def isEarlier = { replaceEarlier && sam.isOfEarlierRun(it, plane, 'like', pathClass, asAnnotations) }
        def made = sam.changeOf(place, others, imageNow, asTheyWere, isEarlier, { it.getID() in ids || it.getID() == place.id })
        def hasChanged = sam.makeChanges([made])
        if (hasChanged)
            sam.note(imageNow, 'SAM: all like selected', 'like_selected', options + [model: model, foundClass: foundClass,
                    asAnnotations: asAnnotations, minLikeness: minLikeness, replaceEarlier: replaceEarlier])
        return ScriptRun.report("${answer.report()}, ${objects.size() - others.size()} of them examples${made.said}", hasChanged)
    }
}

/** The annotation with an area that all examples lie below; null where there is none. */
def parentOf(examples) {
    def parents = examples.collect { it.getParent() }.unique()
    return parents.size() == 1 && parents[0].isAnnotation() && parents[0].getROI()?.isArea() ? parents[0] : null
}
