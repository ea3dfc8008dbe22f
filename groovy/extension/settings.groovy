/*
 * Shows SAM's settings.
 *
 * 1. They are in QuPath's preferences pane, category SAM, which is opened and scrolled into sight: it is the last one.
 */
import javafx.animation.PauseTransition
import javafx.application.Platform
import javafx.beans.InvalidationListener
import javafx.scene.control.Accordion
import javafx.scene.control.ScrollPane
import javafx.util.Duration

def gui = getQuPath()
def item = gui.lookupMenuItem('Edit>Preferences...') ?: gui.lookupMenuItem('Edit>Preferences')
if (item == null) {
    Dialogs.showMessageDialog('SAM', 'The settings are in Edit > Preferences, category SAM.')
    return
}
item.fire()
Platform.runLater { // the pane has to be in sight
    def sheet = gui.getPreferencePane().getPropertySheet()
    def categories = sheet.lookup('.accordion'), scroller = sheet.lookup('.scroll-pane')
    def ours = categories instanceof Accordion ? categories.getPanes().find { it.getText() == 'SAM' } : null
    if (ours == null)
        return
    def animated = categories.getPanes().findAll { it.isAnimated() }
    animated.each { it.setAnimated(false) } // the places are known once it is open
    categories.setExpandedPane(ours)
    animated.each { it.setAnimated(true) }
    if (!(scroller instanceof ScrollPane))
        return
    def scroll = {
        def hidden = categories.getHeight() - scroller.getViewportBounds().getHeight()
        if (hidden > 0)
            scroller.setVvalue(Math.min(1, ours.getBoundsInParent().getMinY() / hidden))
    }
    scroller.applyCss()
    scroller.layout()
    scroll()
    // The window may get its size and place only now.
    def changed = { observable -> Platform.runLater(scroll) } as InvalidationListener
    def places = [categories.heightProperty(), ours.boundsInParentProperty(), scroller.viewportBoundsProperty()]
    places.each { it.addListener(changed) }
    def settled = new PauseTransition(Duration.seconds(2))
    settled.setOnFinished { places.each { it.removeListener(changed) } }
    settled.play()
}
