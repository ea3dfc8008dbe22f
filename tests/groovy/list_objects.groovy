/*
 * Prints every object of every image for the tests: image, name (or id), then key=value, tab separated.
 */
getAllObjects(false).each {
    def roi = it.getROI()
    def values = [
            id: it.getID(), class: it.getPathClass(), locked: it.isLocked(), area: roi.getArea(), z: roi.getZ(), t: roi.getT(),
            points: roi.getNumPoints(), centre: "${roi.getCentroidX().round()},${roi.getCentroidY().round()}", kind: roi.getRoiName(),
            parent: it.getParent()?.getName(), children: it.getChildObjects().collect { child -> child.getName() },
            measurements: new TreeMap(it.getMeasurements()), metadata: new TreeMap(it.getMetadata())]
    println "OBJECT\t${getCurrentImageName()}\t${it.getName() ?: it.getID()}\t${values.collect { key, value -> "${key}=${value}" }.join('\t')}"
}
