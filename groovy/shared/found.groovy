/*
 * What the scripts have in common that find objects in regions: what is found, and what an earlier run has found and people have changed.
 */
import io.github.qupathsam.client.*
import qupath.lib.analysis.features.ObjectMeasurements

/** Objects that are found in regions, in place of those of an earlier run. */
class Found extends Answers {
    /** Where objects are looked for, as it is when the server is asked: in a region, or, without one, in the whole image. */
    def placeAsked(region, plane) {
        return [id: region?.getID(), name: region?.getDisplayedName(), plane: plane, outline: region?.getROI()?.getGeometry(),
                around: region?.getParent()?.getID()]
    }

    /** An object's outline, or its points, as examples. */
    def examplesOf(object, wanted) {
        def roi = object.getROI()
        return roi.isPoint() ? roi.getAllPoints().collect { Example.click(it.getX(), it.getY(), wanted) } :
                [Example.outline(Outlines.wkb(roi.getGeometry()), wanted)]
    }

    /** The found objects, with class, score and the measurements of their shape; nothing is added to the image yet. */
    def objectsOf(answer, plane, pathClass, asAnnotations, imageData) {
        def objects = answer.found().collect { found ->
            def object = asAnnotations ? PathObjects.createAnnotationObject(roiOf(found.mask(), plane), pathClass) :
                    PathObjects.createDetectionObject(roiOf(found.mask(), plane), pathClass)
            object.getMeasurementList().put('SAM score', found.mask().score())
            if (!Double.isNaN(found.likeness()))
                object.getMeasurementList().put('SAM likeness', found.likeness())
            if (asAnnotations)
                Provenance.write(answer.metadata(), object.getMetadata())
            return object
        }
        ObjectMeasurements.addShapeMeasurements(objects, imageData.getServer().getPixelCalibration())
        return objects
    }

    /** Marks what a script has found, so that its next run knows it again, and whether a person has corrected it since. */
    def markFound(objects, what, pathClass) {
        objects.each { object ->
            def marks = ['qupath-sam.found': what] + Corrections.marks(object.getROI().getGeometry(), pathClass, null, null)
            try {
                object.getMetadata().putAll(marks)
            } catch (UnsupportedOperationException isUnmodifiable) { // of a detection in QuPath 0.5
                marks.each { key, value -> object.storeMetadataValue(key, value) }
            }
        }
    }

    /** Whether an earlier run has found an object, by its mark; what is clicked, refined or found by other scripts does not have it. */
    def isOfEarlierRun(object, plane, what, pathClass, asAnnotations) {
        return object.isAnnotation() == asAnnotations && object.getROI()?.getImagePlane() == plane && object.getMetadata()['qupath-sam.found'] == what &&
                (what != 'like' || object.getMetadata().getOrDefault('qupath-sam.found_class', String.valueOf(pathClass)) == String.valueOf(pathClass))
    }

    /**
     * What changes in a place: objects are added below {@code parent}, and others, of an earlier run, go. A region that has been edited meanwhile
     * takes what lies in it now. Where it is no longer there, what was found goes where it was; so what an earlier run has found in a region that has
     * been deleted since lies there, too.
     */
    def changeOf(place, objects, imageNow, asTheyWere, isEarlier, stays) {
        def outlineOf = { it.getROI().getGeometry() }
        def root = imageNow.getHierarchy().getRootObject(), annotations = imageNow.getHierarchy().getAnnotationObjects()
        def around = annotations.find { it.getID() == place.around } ?: root
        def region = place.id == null ? root : annotations.find { it.getID() == place.id && it.getROI()?.isArea() && it.getROI().getImagePlane() == place.plane }
        def isEdited = place.id != null && region != null && !asTheyWere.containsKey(place.id)
        def beside = place.id == null ? [] : Outlines.lyingIn(around.getChildObjects().findAll(isEarlier), place.outline, outlineOf)
        def earlier = beside + (region == null ? [] : region.getChildObjects().findAll(isEarlier))
        def here = objects
        if (isEdited) { // what has not been looked for again, or has been and is not added, stays
            here = Outlines.lyingIn(objects, outlineOf(region), outlineOf)
            earlier = Outlines.lyingIn(Outlines.lyingIn(earlier, outlineOf(region), outlineOf), place.outline, outlineOf)
        }
        def (staying, replaced) = earlier.split { stays(it) || isInUse(it) }
        def said = staying ? ", ${staying.size()} of an earlier run stay" : ''
        if (isEdited)
            said += " (the region has been changed meanwhile: ${objects.size() - here.size()} outside of it are left out; run it again for what is new in it)"
        else if (region == null)
            said += ' (the region is no longer there: they are not below it)'
        return [parent: region ?: around, added: besides(here, staying), replaced: replaced, said: said]
    }

    /** Makes the changes of all places; whether there are any. What one place adds is no earlier run's to the next, so all that goes, goes first. */
    def makeChanges(changes) {
        (changes.collectMany { it.replaced } as Set).groupBy { it.getParent() }.each { parent, objects -> parent.removeChildObjects(objects as Set) }
        changes.each { it.parent.addChildObjects(it.added) }
        return changes.any { it.replaced || it.added }
    }

    /** Whether a person has work in an object of an earlier run: it is locked, has objects in it, or has been corrected. */
    def isInUse(object) {
        return object.isLocked() || object.hasChildObjects() || Corrections.isCorrected(object.getMetadata(), object.getROI().getGeometry(),
                object.getPathClass(), object.getClassProbability(), object.getName(), object.getColor())
    }

    /** Those that are not objects of an earlier run once more, which stay. */
    def besides(objects, staying) {
        return Outlines.besides(objects, staying.collect { it.getROI().getGeometry() }, { it.getROI().getGeometry() })
    }
}
