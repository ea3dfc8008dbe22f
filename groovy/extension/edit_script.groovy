/*
 * Opens the script that was chosen in Extensions > SAM in the script editor, with the settings of the preferences pane.
 *
 * 1. The extension says which.
 */
import io.github.qupathsam.extension.ScriptTexts

def name = ScriptTexts.edited()
getQuPath().getScriptEditor().showScript("${name}.groovy".toString(), ScriptTexts.withSettings(name))
