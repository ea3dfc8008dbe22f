/*
 * Shows SAM's settings.
 *
 * 1. They are in QuPath's preferences pane, category SAM.
 */
import qupath.lib.gui.QuPathGUI

def gui = getQuPath()
def item = gui.lookupMenuItem('Edit>Preferences...') ?: gui.lookupMenuItem('Edit>Preferences')
if (item != null)
    item.fire()
else
    Dialogs.showMessageDialog('SAM', 'The settings are in Edit > Preferences, category SAM.')
