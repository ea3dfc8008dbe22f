/*
 * Makes a project for the tests: args = project folder, then images. In each image there are
 * a point and an ignored point near it, a rectangle, a line, and a locked, named annotation with measurements,
 * and an outline to refine with a child, on the default plane.
 */
import java.awt.image.BufferedImage
import qupath.lib.images.servers.ImageServerProvider
import qupath.lib.images.servers.openslide.jna.OpenSlideLoader
import qupath.lib.objects.classes.PathClass

def plane = ImagePlane.getDefaultPlane()
def annotation = { roi, className, name ->
    def made = PathObjects.createAnnotationObject(roi, className ? PathClass.fromString(className) : null)
    made.setName(name)
    return made
}
def folder = new File(args[0])
folder.mkdirs()
OpenSlideLoader.tryToLoad() // QuPath 0.5 does so only with a window, and finds no reader for slides before
def project = Projects.createProject(folder, BufferedImage)
args.drop(1).each { path ->
    def support = ImageServerProvider.getPreferredUriImageSupport(BufferedImage, new File(path).toURI().toString())
    def entry = project.addImage(support.getBuilders()[0])
    entry.setImageName(new File(path).getName())
    def imageData = entry.readImageData()
    imageData.setImageType(ImageData.ImageType.OTHER) // else the window asks for it
    def hierarchy = imageData.getHierarchy()
    def clicked = annotation(ROIs.createPointsROI(300, 300, plane), 'Tumor', 'clicked')
    def notThis = annotation(ROIs.createPointsROI(340, 300, plane), 'Ignore*', null)
    def boxed = annotation(ROIs.createRectangleROI(600, 200, 120, 90, plane), 'Stroma', 'boxed')
    def lined = annotation(ROIs.createLineROI(200, 600, 320, 640, plane), 'Tumor', 'lined')
    def locked = annotation(ROIs.createEllipseROI(650, 550, 100, 100, plane), 'Tumor', 'locked')
    locked.setLocked(true)
    def rough = annotation(ROIs.createEllipseROI(400, 450, 150, 110, plane), 'Gland', 'rough')
    rough.getMeasurementList().put('Grade', 3)
    rough.getMeasurementList().put('Area µm^2', 1)
    hierarchy.addObjects([clicked, notThis, boxed, lined, locked, rough])
    hierarchy.addObjectBelowParent(rough, annotation(ROIs.createEllipseROI(450, 480, 20, 20, plane), null, 'child'), true)
    entry.saveImageData(imageData)
}
project.syncChanges()
println "project of ${project.size()} images"
