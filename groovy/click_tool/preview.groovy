/*
 * What the click tool shows: its icon, and the preview over the viewer.
 */
import io.github.qupathsam.client.*
import java.awt.Graphics2D
import java.awt.image.BufferedImage
import javafx.application.Platform
import javafx.scene.Node
import javafx.scene.shape.SVGPath
import org.controlsfx.tools.Duplicatable
import qupath.lib.gui.viewer.overlays.AbstractOverlay

/** A blob with a plus in it; toolbar and menu each take a copy. */
class ToolIcon extends SVGPath implements Duplicatable<Node> {
    private final paint

    ToolIcon(paint) {
        this.paint = paint
        setContent('M8 1.5C4.2 1.5 1.5 4 1.5 7.6 1.5 11.6 4.4 14.5 8.2 14.5 12 14.5 14.5 12 14.5 8.4 14.5 5.9 12.9 5.6 11.6 4.2 10.6 2.9 9.8 1.5 ' +
                '8 1.5ZM8 3C9 3 9.6 3.9 10.5 5.2 11.9 6.8 13 6.9 13 8.4 13 11.2 11 13 8.2 13 5.2 13 3 10.8 3 7.6 3 4.8 5 3 8 3Z' +
                'M7.2 5.4H8.8V7.2H10.6V8.8H8.8V10.6H7.2V8.8H5.4V7.2H7.2Z')
        fillProperty().bind(paint)
    }

    Node duplicate() { return new ToolIcon(paint) }
}

/** The object that is being clicked, as the client paints it, over the viewer. */
class Preview extends AbstractOverlay {
    private final Clicker clicker
    def outline, warning

    Preview(overlayOptions, Clicker clicker) {
        super(overlayOptions)
        this.clicker = clicker
    }

    void paintOverlay(Graphics2D g, ImageRegion region, double px, ImageData<BufferedImage> data, boolean complete) {
        def viewer = clicker.viewer, view = clicker.view
        if (view != null && clicker.plane == viewer.getImagePlane()) {
            ClickPainter.paint(g, px, view, outline, clicker.keeper.colourNow(), clicker.settings.opacity as double)
        }
        if (clicker.plane != viewer.getImagePlane())
            Platform.runLater { clicker.turn() }
        clicker.gestures.drawing?.paint(g, px)
        // From here on in px of the screen, from the viewer's upper left corner, whatever its zoom and rotation.
        def corner = viewer.componentPointToImagePoint(0, 0, null, false)
        def screen = g.create()
        screen.translate(corner.x, corner.y)
        screen.rotate(-viewer.getRotation())
        screen.scale(px, px)
        def text = view?.text(clicker.live.trouble()) ?: warning
        def label = view?.label()
        def pointer = clicker.gestures.pointer
        if (text || (label && pointer == null))
            ClickPainter.paintText(screen, text ?: label, 12, 12)
        if (label && pointer != null) {
            def beside = viewer.imagePointToComponentPoint(pointer, null, false)
            ClickPainter.paintBeside(screen, label, beside.x, beside.y, (int) viewer.getView().getWidth(), (int) viewer.getView().getHeight())
        }
        screen.dispose()
    }
}
