/*
 * Carry selected outlines through the planes of a stack.
 *
 * 1. Start the server (`qupath-sam serve`) and install the client jar (`qupath-sam install-qupath`).
 * 2. Select one or more annotations with an area, on the plane where their outlines are right.
 * 3. Run. The outline of a plane is the prompt for the next, upwards and downwards, until the object ends: where the score is too low, or
 *    the area jumps. Each plane gets an annotation of the same class and name; what is selected stays as it is. A window shows how far the
 *    work is; Cancel there changes nothing. Everything is one step of undo; a second run replaces what the first one made.
 */
import io.github.qupathsam.client.*
import io.github.qupathsam.extension.*
import java.util.function.IntFunction

// Settings
def model = ''               // empty: the project's choice, or else the server's default
def axis = ''                // 'z' or 't'; empty: the one that the image has; where it has both, a person is asked
def planes = []              // first and last plane to go to, from 0, such as [2, 8]; empty: all
def replaceEarlier = true    // take away what an earlier run has made of the same annotations
// an object ends where its score is lower, where its area changes by more than this factor from plane to plane, or where its IoU with the
// plane before is lower; boxMargin: share of its size by which an object may grow on each side
def refining = [minScore: 0.75, maxAreaChange: 2, minIoU: 0.3, minPartIoU: 0, boxMargin: 0.2, point: true]
// clean: holes and parts below this share of the outline before go; the others are um2, um2, um (px2 and px without a pixel size)
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
sam = ScriptTexts.shared(getCoreClasses(), { text -> new GroovyClassLoader(ScriptTexts.classLoader).tap { parseClass(text) } }).loadClass('Found')
        .newInstance(script: this)

ScriptRun.of(getQuPath() == null, { println it }, { Dialogs.showErrorMessage('SAM', it) }) {
    def imageData = getCurrentImageData()
    if (imageData == null)
        throw new IllegalStateException('No image is open. Open one and select outlines.')
    def sources = getSelectedObjects().findAll { it.isAnnotation() && it.getROI()?.isArea() }
    if (sources.isEmpty())
        throw new IllegalStateException('No outline is selected. Select annotations with an area.')
    axis = axisOf(imageData.getServer(), axis)
    if (axis == null)
        return 'nothing has been done'

    // 1. Ask the server, plane by plane; nothing changes before every answer is there
    def asked = sam.askedAbout(imageData, sources)
    def size = axis == 'z' ? imageData.getServer().nZSlices() : imageData.getServer().nTimepoints()
    def answers = SamClient.connect(ProjectSettings.of(getProject()?.getPath())).withCloseable { client ->
        sources.groupBy { it.getROI().getImagePlane() }.collect { plane, onPlane ->
            def range = PlaneRange.of(axis == 'z' ? plane.getZ() : plane.getT(), planes ? planes[0] : 0, planes ? planes[1] : size - 1)
            def at = { sam.samImageOf(imageData, planeAt(plane, axis, it)) } as IntFunction
            def outlines = onPlane.collectEntries { [it, Outlines.wkb(it.getROI().getGeometry())] }
            def task = client.propagate(at, range, outlines, PredictOptions.of(options + [model: model]), RefineOptions.of(refining + [anySize: true]))
            sam.withProgress("through ${axis}", task)
        }
    }
    def answer = Propagation.joined(answers)

    // 2. One change of the hierarchy; what a person has locked or selected stays, and its plane with it
    // QuPath itself says that the hierarchy has changed when a script ends; said here as well, it is a second step of undo.
    def ids = sources.collect { it.getID() } as Set
    return sam.writeAnswer(asked) { imageNow, asTheyWere ->
        def hierarchy = imageNow.getHierarchy()
        def earlier = replaceEarlier ? earlierOf(hierarchy, sources, axis, planes ? planes[0] : 0, planes ? planes[1] : size - 1) : []
        def stay = earlier.findAll { it.getID() in ids || sam.isInUse(it) }
        def taken = stay.collect { [it.getMetadata()['qupath-sam.propagated_of'], it.getROI().getImagePlane()] }
        def made = answer.found().findAll { found ->
            !([found.source().getID().toString(), planeAt(found.source().getROI().getImagePlane(), axis, found.plane())] in taken)
        }.collect { annotationOn(it, axis) }
        (earlier - stay).each { hierarchy.removeObjectWithoutUpdate(it, true) }
        hierarchy.getRootObject().addChildObjects(made)
        def hasChanged = !made.isEmpty() || earlier.size() > stay.size()
        if (hasChanged)
            sam.note(imageNow, 'SAM: propagate selected', 'propagate_selected', refining + options + [model: model, axis: axis, planes: planes,
                    replaceEarlier: replaceEarlier])
        def staying = stay ? "; ${stay.size()} of an earlier run are locked, corrected, selected or have children, and stay" : ''
        return ScriptRun.report(answer.report() + staying, hasChanged)
    }
}

/** Through which planes: as the setting says, else as the image has them; null where a person does not choose. */
def axisOf(server, axis) {
    def there = [z: server.nZSlices(), t: server.nTimepoints()].findAll { name, size -> size > 1 }.keySet() as List
    if (there.isEmpty())
        throw new IllegalStateException('The image is one plane: there is none to carry an outline to.')
    if (axis && !(axis in there))
        throw new IllegalStateException("The image has one plane along ${axis}. Set axis to '${there[0]}'.")
    if (axis || there.size() == 1)
        return axis ?: there[0]
    if (getQuPath() == null)
        throw new IllegalStateException("The image has planes along z and t. Set axis to 'z' or 't'.")
    return Dialogs.showChoiceDialog('SAM', 'Through which planes?', there, there[0])
}

/** The plane beside another one. */
def planeAt(plane, axis, place) {
    return axis == 'z' ? ImagePlane.getPlaneWithChannel(plane.getC(), place, plane.getT()) :
            ImagePlane.getPlaneWithChannel(plane.getC(), plane.getZ(), place)
}

/** What an earlier run has made of these annotations along an axis, on the planes of a range. */
def earlierOf(hierarchy, sources, axis, first, last) {
    def ids = sources.collect { it.getID().toString() } as Set
    return hierarchy.getAnnotationObjects().findAll {
        def at = axis == 'z' ? it.getROI()?.getZ() : it.getROI()?.getT()
        it.getMetadata()['qupath-sam.propagated_of'] in ids && it.getMetadata()['qupath-sam.propagated_along'] == axis && at >= first && at <= last
    }
}

/** The object on another plane: class, name and colour as they are, with what made its outline and what it comes from. */
def annotationOn(found, axis) {
    def source = found.source(), plane = source.getROI().getImagePlane()
    def annotation = PathObjects.createAnnotationObject(sam.roiOf(found.mask(), planeAt(plane, axis, found.plane())), source.getPathClass())
    annotation.setName(source.getName())
    annotation.setColor(source.getColor())
    annotation.getMeasurementList().put('SAM score', found.mask().score())
    Provenance.write(found.metadata(), annotation.getMetadata())
    annotation.getMetadata().putAll(['qupath-sam.propagated_from': "z ${plane.getZ()}, t ${plane.getT()}".toString(),
            'qupath-sam.propagated_of': source.getID().toString(), 'qupath-sam.propagated_along': axis])
    annotation.getMetadata().putAll(Corrections.marks(annotation.getROI().getGeometry(), annotation.getPathClass(), annotation.getName(), annotation.getColor()))
    return annotation
}
