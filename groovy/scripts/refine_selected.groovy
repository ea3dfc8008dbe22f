/*
 * Refine selected outlines in place.
 *
 * 1. Start the server (`qupath-sam serve`) and install the client jar (`qupath-sam install-qupath`).
 * 2. Select one or more annotations (or detections) with an outline.
 * 3. Run. Each outline is replaced by the model's; plane, name, class, lock, children, id and the measurements that do not depend on shape
 *    stay. Everything is one step of undo.
 */
import io.github.qupathsam.client.*
import org.locationtech.jts.io.ByteOrderValues
import org.locationtech.jts.io.WKBReader
import org.locationtech.jts.io.WKBWriter
import qupath.lib.display.ImageDisplay
import qupath.lib.gui.images.servers.RenderedImageServer
import qupath.lib.images.servers.ImageServerBuilder.ServerBuilder

// Settings
def model = ''               // empty: the server's default
def lockedToo = false        // change locked objects as well
def minIoU = 0.3             // an answer that agrees less with the old outline is refused; 0 takes all
def options = [minArea: 0, fillHoles: 0, simplify: 0]   // um2, um2, um (px2 and px without a pixel size)

// The client jar is looked for before anything else, so that its absence has a clear message and a non-zero exit.
try {
    this.class.classLoader.loadClass('io.github.qupathsam.client.SamClient')
} catch (ClassNotFoundException absent) {
    println 'qupath-sam: the client jar is not installed. Run `qupath-sam install-qupath`, or drag qupath-sam-client.jar onto QuPath.'
    if (getQuPath() == null)
        System.exit(1)
    throw absent
}

def imageData = getCurrentImageData()
def objects = getSelectedObjects().findAll { it.hasROI() && it.getROI().isArea() }
if (objects.isEmpty())
    throw new IllegalStateException('No outline is selected. Select annotations with an area.')
def open = objects.findAll { lockedToo || !it.isLocked() }

// 1. Ask the server, plane by plane; nothing changes before every answer is there
def answers = [:]
SamClient.connect().withCloseable { client ->
    open.groupBy { it.getROI().getImagePlane() }.each { plane, onPlane ->
        def prompts = onPlane.collect { Prompts.outline(wkbOf(it.getROI())) }
        def answer = client.predict(samImageOf(imageData, plane), prompts, PredictOptions.of(options + [model: model]))
        onPlane.eachWithIndex { object, i -> answers[object] = [answer.results()[i], answer.provenance()] }
    }
}

// 2. Replace, with one change of the hierarchy
def accepted = answers.findAll { object, answer ->
    def best = answer[0].best()
    best != null && iouOf(object.getROI(), roiOf(best, object.getROI().getImagePlane())) >= minIoU
}
accepted.each { object, answer -> replaceOutline(object, *answer) }
if (accepted)
    imageData.getHierarchy().fireObjectsChangedEvent(this, accepted.keySet())
println "qupath-sam: ${accepted.size()} refined, ${answers.size() - accepted.size()} refused, ${objects.size() - open.size()} locked"

/** How the server is told of this image: QuPath's own recipe for opening it, or, where that does not do, pixels as QuPath shows them. */
def samImageOf(imageData, plane) {
    def server = imageData.getServer()
    def builder = server.getBuilder()
    def shown = server.isRGB() ? server : new RenderedImageServer.Builder(imageData).renderer(ImageDisplay.create(imageData)).build()
    def calibration = server.getPixelCalibration()
    def image = SamImage.ofBuilder(GsonTools.getInstance().toJson(builder, ServerBuilder), server.getWidth(), server.getHeight())
            .plane(plane.getZ(), plane.getT())
            .pixelSize(calibration.hasPixelSizeMicrons() ? calibration.getAveragedPixelSizeMicrons() : 0)
            .pixels('QuPath rendered RGB') { region, downsample ->
                shown.readRegion(RegionRequest.createInstance(shown.getPath(), downsample,
                        region.x(), region.y(), region.width(), region.height(), plane.getZ(), plane.getT()))
            }
    return server.isRGB() && builder != null ? image : image.alwaysPush()
}

/** Gives an object another outline on its plane; all else stays, but for measurements that the new shape makes wrong. */
def replaceOutline(object, result, provenance) {
    def kept = ShapeMeasurements.kept(object.getMeasurements()) // first: setROI empties them
    object.setROI(roiOf(result.best(), object.getROI().getImagePlane()))
    kept.each { name, value -> object.getMeasurementList().put(name, value.doubleValue()) }
    object.getMeasurementList().put('SAM score', result.best().score())
    if (object.isAnnotation())
        object.getMetadata().putAll(provenance.metadata())
}

/** Intersection over union of two outlines. */
def iouOf(before, after) {
    def a = before.getGeometry(), b = after.getGeometry()
    def common = a.intersection(b).getArea()
    return common / (a.getArea() + b.getArea() - common)
}

/** The outline as QuPath's region of interest on a plane. */
def roiOf(mask, plane) {
    return GeometryTools.geometryToROI(new WKBReader(GeometryTools.getDefaultFactory()).read(mask.wkb()), plane)
}

/** The outline of an object as the server reads it. */
def wkbOf(roi) {
    return new WKBWriter(2, ByteOrderValues.LITTLE_ENDIAN).write(roi.getGeometry())
}
