/*
 * Shows SAM's settings.
 *
 * 1. They are in QuPath's preferences pane, category SAM, which is opened and scrolled into sight: it is the last one.
 */
import javafx.animation.PauseTransition
import javafx.application.Platform
import javafx.beans.value.ChangeListener
import javafx.event.EventHandler
import javafx.scene.control.Accordion
import javafx.scene.control.ScrollPane
import javafx.scene.input.ScrollEvent
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
    categories.setExpandedPane(ours)
    if (!(scroller instanceof ScrollPane))
        return
    def scroll = {
        def hidden = categories.getHeight() - scroller.getViewportBounds().getHeight()
        if (hidden > 0)
            scroller.setVvalue(Math.min(1, ours.getBoundsInParent().getMinY() / hidden))
    }
    scroll()
    // Where QuPath opens its own first category at the same moment, JavaFX never closes it, and ours lies below the edge.
    def opened = new PauseTransition(Duration.millis(500))
    opened.setOnFinished {
        def panes = categories.getPanes()
        def open = panes.findAll { it != ours && it.getHeight() > 1 + (it.lookup('.title')?.getHeight() ?: it.getHeight()) }
        if (open.isEmpty() || categories.getExpandedPane() != ours)
            return
        panes.each { it.setAnimated(false) }
        open.each {
            it.setExpanded(true)
            it.setExpanded(false)
        }
        categories.setExpandedPane(ours)
        panes.each { it.setAnimated(true) }
    }
    opened.play()
    // The category opens, and another one closes, step by step; the window may get its size only now. A person's own wheel ends it.
    def places = [categories.heightProperty(), ours.boundsInParentProperty(), scroller.viewportBoundsProperty()]
    def changed = { observable, before, now -> Platform.runLater(scroll) } as ChangeListener
    places.each { it.addListener(changed) }
    def settled = new PauseTransition(Duration.seconds(10))
    def ended
    ended = { event ->
        places.each { it.removeListener(changed) }
        scroller.removeEventFilter(ScrollEvent.SCROLL, ended)
    } as EventHandler
    settled.setOnFinished(ended)
    scroller.addEventFilter(ScrollEvent.SCROLL, ended)
    settled.play()
}
