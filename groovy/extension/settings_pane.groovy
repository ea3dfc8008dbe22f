/*
 * SAM's settings in QuPath's own preferences pane (Edit > Preferences). The scripts that the menu runs take them.
 *
 * 1. The extension runs this once, when QuPath starts.
 */
import io.github.qupathsam.extension.ScriptTexts
import java.util.function.Supplier
import qupath.fx.prefs.controlsfx.PropertyItemBuilder
import qupath.lib.gui.prefs.PathPrefs

def texts = [
        model: ['Model', "Name of the model; empty takes the server's default (see Extensions > SAM > Server...)"],
        outlineClass: ['Class of outlines', 'Of what "Run for project > Segment" makes; empty takes that of the prompts'],
]
def numbers = [
        minArea: ['Smallest part', 'Parts below this area are dropped, um2 (px2 on images without a pixel size)'],
        fillHoles: ['Holes to fill', 'Holes up to this area are filled, um2 (px2)'],
        simplify: ['Simplify', 'Outlines may move by this much to have fewer vertices, um (px)'],
]
def truths = [
        keepPrompts: ['Keep prompts', 'Points, lines, strokes and rectangles stay where they became an outline'],
]
def items = getQuPath().getPreferencePane().getPropertySheet().getItems()
def add = { name, words, property, type ->
    items.add(new PropertyItemBuilder(property, type).name(words[0]).category('SAM').description(words[1]).build())
    ScriptTexts.setting(name, { property.getValue() } as Supplier)
}
texts.each { name, words -> add(name, words, PathPrefs.createPersistentPreference("sam.${name}".toString(), ''), String) }
numbers.each { name, words -> add(name, words, PathPrefs.createPersistentPreference("sam.${name}".toString(), 0.0d), Double) }
truths.each { name, words -> add(name, words, PathPrefs.createPersistentPreference("sam.${name}".toString(), false), Boolean) }
