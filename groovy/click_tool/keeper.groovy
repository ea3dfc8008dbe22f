/*
 * How an outline of the click tool becomes an annotation.
 */
import io.github.qupathsam.client.*
import java.awt.Color
import javafx.application.Platform
import org.locationtech.jts.io.WKBReader
import qupath.fx.dialogs.Dialogs
import qupath.lib.gui.prefs.PathPrefs

/** Takes outlines from the server's last answer into their images, also after these have been closed and opened again. */
class Keeper {
    def clicker
    private beingKept = [] // objects that wait for their last answer
    private unwritten = [] // what was kept when its image was closed already: it is added when that is opened again

    /** The objects that wait for their last answer. */
    def waiting() { return beingKept }

    /** Names of the closed images for which outlines wait. */
    def namesOfClosed() { return unwritten.collect { it[2] } }

    /** To another one, which goes on with this one's lists: what waits here ends in them. */
    void handOver(next) { next.take(beingKept, unwritten) }

    void take(kept, closed) {
        beingKept = kept
        unwritten = closed
    }

    /** Adds what was kept of images that were closed, as far as these are open now. */
    void addWaiting() {
        def waiting = unwritten.toList()
        unwritten.clear()
        waiting.each { add(*it) }
    }

    /** Adds the outline of an object as soon as its last click is answered; {@code selects}: and selects it. */
    void keep(keeping, object, selects) {
        def keptViewer = clicker.viewer, keptPlane = clicker.plane, imageName = imageNameOf(clicker.imageData)
        def asked = Asked.about(clicker.imageData, imagesInView(), false, [:])
        beingKept << object
        keeping.whenComplete { kept, failure ->
            Platform.runLater {
                beingKept.remove(object)
                failure == null ? add(kept, asked, imageName, keptViewer, keptPlane, selects) : clicker.warnOf(SamException.of(failure))
            }
        }
    }

    /** Adds an outline to the image that it was clicked on, or, where that has been closed, as soon as it is opened again. */
    void add(kept, asked, imageName, keptViewer, keptPlane, selects) {
        def keptData
        try {
            keptData = asked.image(imagesInView(), { identityOf(it) }, { imageName })
        } catch (IllegalStateException closed) {
            unwritten << [kept, asked, imageName, keptViewer, keptPlane, selects]
            Dialogs.showInfoNotification('SAM', "${imageName} is closed. The outline that you kept is added when you open it again.")
            return
        }
        def made
        try {
            made = addTo(keptData, kept, keptViewer, keptPlane)
        } catch (RuntimeException fault) {
            unwritten << [kept, asked, imageName, keptViewer, keptPlane, selects]
            Dialogs.showErrorNotification('SAM', "The outline could not be added to ${imageName}; choose the tool again to repeat it: ${ScriptRun.told(fault)}")
            return
        }
        if (selects && keptViewer.getImageData() == keptData)
            keptViewer.setSelectedObject(made)
        def pathClass = made.getPathClass()
        if (pathClass != null && keptViewer.getOverlayOptions().isPathClassHidden(pathClass))
            clicker.warn("Kept, but objects of class ${pathClass} are hidden: show them in the Annotations tab.")
        println "qupath-sam: ${kept.report(made.getDisplayedName())}"
    }

    /** The annotation that has got an outline, or the new one. */
    def addTo(keptData, kept, keptViewer, keptPlane) {
        def outline = new WKBReader(GeometryTools.getDefaultFactory()).read(kept.mask().wkb())
        def hierarchy = keptData.getHierarchy()
        def source = kept.source()
        def made = source == null ? null : hierarchy.getAnnotationObjects().find { it.getID() == source.id && !it.isLocked() && placeOf(it) == source.place }
        if (source != null && made == null)
            clicker.warn('The annotation has been changed meanwhile. The outline is a new one.')
        def pathClass = made == null ? PathPrefs.autoSetAnnotationClassProperty().get() : made.getPathClass()
        if (clicker.settings.cutAtNeighbours)
            outline = cut(outline, clicker.annotationsInSight(keptData, keptViewer).findAll { it != made && it.getPathClass() == pathClass }, keptPlane)
        def roi = GeometryTools.geometryToROI(outline, keptPlane)
        if (made != null) {
            def measured = ShapeMeasurements.kept(made.getMeasurements()) // first: setROI empties them
            made.setROI(roi)
            measured.each { name, value -> made.getMeasurementList().put(name, value.doubleValue()) }
            note(made, kept)
            hierarchy.fireObjectsChangedEvent(this, [made])
        } else {
            made = clicker.settings.asDetections ? PathObjects.createDetectionObject(roi, pathClass) : PathObjects.createAnnotationObject(roi, pathClass)
            if (clicker.settings.namePattern)
                made.setName(nameOf(pathClass, hierarchy))
            def painted = ownColour()
            if (painted != null)
                made.setColor(painted.getRGB())
            note(made, kept)
            def parent = clicker.settings.asChildren ? parentOf(outline, roi, clicker.annotationsInSight(keptData, keptViewer)) : null
            parent == null ? hierarchy.addObject(made) : hierarchy.addObjectBelowParent(parent, made, true)
        }
        return made
    }

    /** The images that the window's viewers show. */
    def imagesInView() {
        return clicker.gui.getAllViewers().collect { it.getImageData() }.findAll { it != null }
    }

    /** The same for an image that is opened twice. */
    def identityOf(data) {
        return data.getProperty('PROJECT_ENTRY_ID') ?: data.getServerPath()
    }

    def imageNameOf(data) {
        return data.getServer().getMetadata().getName()
    }

    /** An object's plane and outline. */
    def placeOf(object) {
        def roi = object.getROI()
        return [roi.getC(), roi.getZ(), roi.getT(), Outlines.fingerprint(roi.getGeometry())]
    }

    void note(made, kept) {
        made.getMeasurementList().put('SAM score', kept.mask().score())
        if (made.isAnnotation())
            Provenance.write(kept.metadata(), made.getMetadata())
    }

    /** The outline without its neighbours; whole where they cover it, or where it cannot be cut, so that nothing is lost. */
    def cut(outline, neighbours, onPlane) {
        def bounds = outline.getEnvelopeInternal()
        def near = neighbours.findAll {
            def roi = it.getROI()
            roi.getImagePlane() == onPlane && roi.getBoundsX() < bounds.getMaxX() && roi.getBoundsY() < bounds.getMaxY() &&
                    roi.getBoundsX() + roi.getBoundsWidth() > bounds.getMinX() && roi.getBoundsY() + roi.getBoundsHeight() > bounds.getMinY()
        }
        try {
            def rest = Outlines.cut(outline, near.collect { it.getROI().getGeometry() })
            if (!rest.isEmpty())
                return rest
            clicker.warn('The outline lies in another of its class: it is not cut.')
        } catch (RuntimeException fault) {
            clicker.warn('The outline cannot be cut at its neighbours, and is kept whole: ' + ScriptRun.told(fault))
        }
        return outline
    }

    /** The smallest annotation that contains an outline; null where none does, or none can be found. */
    def parentOf(outline, roi, annotations) {
        try {
            return annotations.findAll {
                it.getROI().getImagePlane() == roi.getImagePlane() && it.getROI().getArea() > roi.getArea() && it.getROI().getGeometry().covers(outline)
            }.min { it.getROI().getArea() }
        } catch (RuntimeException fault) {
            clicker.warn('The outline is kept, but not as a child: ' + ScriptRun.told(fault))
            return null
        }
    }

    def nameOf(pathClass, hierarchy) {
        def of = hierarchy.getAllObjects(false).count { it.getPathClass() == pathClass && it.isDetection() == clicker.settings.asDetections }
        return clicker.settings.namePattern.replace('{class}', pathClass == null ? 'SAM' : pathClass.toString()).replace('{n}', String.valueOf(of + 1))
    }

    /** In which the preview is drawn. */
    def colourNow() {
        def pathClass = PathPrefs.autoSetAnnotationClassProperty().get()
        return ownColour() ?: new Color(pathClass == null ? 0x00c8ff : pathClass.getColor())
    }

    /** That of the settings; null where they name none that there is. */
    def ownColour() {
        try {
            return clicker.settings.colour ? Color.decode(clicker.settings.colour) : null
        } catch (NumberFormatException unknown) {
            clicker.warn("'${clicker.settings.colour}' is no colour; write it as #00c8ff.")
            clicker.set('colour', '')
            return null
        }
    }
}
