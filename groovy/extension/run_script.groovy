/*
 * Runs the script of a command of the menu, as QuPath runs a script of its editor, but for one thing.
 *
 * 1. The extension sets `text`, and `imageData`: the image in view when the command was chosen, or null.
 * 2. After a script QuPath says that the hierarchy has changed, and each time is a step of undo. Here that is said only where the script
 *    has changed the image: neither a window that was opened, nor a cancelled run, nor one that found nothing is a step.
 */
import qupath.lib.gui.QuPathGUI
import qupath.lib.gui.scripting.QPEx
import qupath.lib.gui.scripting.languages.ScriptLanguageProvider
import qupath.lib.scripting.ScriptParameters

def parameters = ScriptParameters.builder()
        .setProject(QuPathGUI.getInstance().getProject())
        .setImageData(imageData)
        .setDefaultImports(QPEx.getCoreClasses())
        .setDefaultStaticImports([QPEx])
        .setScript(text)
        .useLogWriters()
        .doUpdateHierarchy(false)
        .build()
def hasChanged = ScriptLanguageProvider.getLanguageFromExtension('.groovy').execute(parameters)
if (hasChanged == true && imageData != null) {
    def hierarchy = imageData.getHierarchy()
    hierarchy.fireHierarchyChangedEvent(parameters)
    if (QuPathGUI.getVersion().getMajor() == 0 && QuPathGUI.getVersion().getMinor() == 5) // it undoes only changes of named objects
        hierarchy.fireObjectsChangedEvent(parameters, [hierarchy.getRootObject()])
}
