/*
 * Shows SAM's settings.
 *
 * 1. They are in QuPath's preferences pane, category SAM, which is opened.
 */
import javafx.application.Platform
import javafx.scene.control.Accordion

def gui = getQuPath()
def item = gui.lookupMenuItem('Edit>Preferences...') ?: gui.lookupMenuItem('Edit>Preferences')
if (item == null) {
    Dialogs.showMessageDialog('SAM', 'The settings are in Edit > Preferences, category SAM.')
    return
}
item.fire()
Platform.runLater { // the pane has to be in sight
    def categories = gui.getPreferencePane().getPropertySheet().lookup('.accordion')
    if (categories instanceof Accordion)
        categories.setExpandedPane(categories.getPanes().find { it.getText() == 'SAM' })
}
