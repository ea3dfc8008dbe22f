/*
 * Makes a project for the tests of unusual images: args = project folder, then for each image its file, how it is turned (a name of
 * RotatedImageServer.Rotation), and its annotations as `rectangle|ellipse x y width height z t name`, separated by semicolons.
 */
import java.awt.image.BufferedImage
import qupath.lib.images.servers.ImageServerProvider
import qupath.lib.images.servers.RotatedImageServer

def folder = new File(args[0])
folder.mkdirs()
def project = Projects.createProject(folder, BufferedImage)
args.drop(1).collate(3).each { path, rotation, annotations ->
    def server = ImageServerProvider.getPreferredUriImageSupport(BufferedImage, new File(path).toURI().toString()).getBuilders()[0].build()
    if (rotation != 'ROTATE_NONE')
        server = new RotatedImageServer(server, RotatedImageServer.Rotation.valueOf(rotation))
    def entry = project.addImage(server.getBuilder())
    entry.setImageName(new File(path).getName())
    def imageData = entry.readImageData()
    imageData.setImageType(ImageData.ImageType.OTHER) // else the window asks for it
    annotations.split(';').each {
        def (kind, x, y, width, height, z, t, name) = it.split(' ')
        def plane = ImagePlane.getPlane(z as int, t as int)
        def box = [x, y, width, height].collect { it as double }
        def roi = kind == 'ellipse' ? ROIs.createEllipseROI(*box, plane) : ROIs.createRectangleROI(*box, plane)
        def annotation = PathObjects.createAnnotationObject(roi)
        annotation.setName(name)
        imageData.getHierarchy().addObject(annotation)
    }
    entry.saveImageData(imageData)
    println "${entry.getImageName()}: ${server.getWidth()} x ${server.getHeight()}, ${server.nChannels()} channels, z ${server.nZSlices()}, t ${server.nTimepoints()}, RGB ${server.isRGB()}"
}
project.syncChanges()
