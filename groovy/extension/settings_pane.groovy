/*
 * SAM's settings in QuPath's own preferences pane (Edit > Preferences). The scripts that the menu runs take them, and the click tool at once.
 *
 * 1. The extension runs this once, when QuPath starts.
 */
import io.github.qupathsam.client.ProjectSettings
import io.github.qupathsam.extension.ScriptTexts
import java.util.function.Supplier
import javafx.beans.value.ChangeListener
import qupath.fx.prefs.controlsfx.PropertyItemBuilder
import qupath.lib.gui.prefs.PathPrefs

def texts = [
        model: ['Model', "Name of the model where the project has none (Extensions > SAM > Server...); empty takes the server's default"],
        outlineClass: ['Run for project > Segment: class', 'Of the outlines; empty takes that of the prompts'],
        namePattern: ['Click tool: name', 'Of what is kept, such as {class} {n}; empty gives none'],
        colour: ['Click tool: colour', 'Of the preview and of what is kept, such as #00c8ff; empty takes that of the class'],
]
def numbers = [
        minArea: ['Smallest part', 'Parts below this area are dropped, um2 (px2 on images without a pixel size)', 0],
        fillHoles: ['Holes to fill', 'Holes up to this area are filled, um2 (px2)', 0],
        simplify: ['Simplify', 'Outlines may move by this much to have fewer vertices, um (px)', 0],
        downsample: ['Scale: downsample', 'Pixels of the image per pixel that the model sees, along a side; 0 lets the server choose', 0],
        mpp: ['Scale: um per pixel', 'The same in um; counts where the downsample is 0, and 0 lets the server choose', 0],
        opacity: ['Click tool: opacity', 'Of the preview, 0 to 1', 0.2],
]
def truths = [
        keepPrompts: ['Keep prompts', 'Points, lines, strokes and rectangles stay where they became an outline'],
        keepParts: ['Keep parts', 'The answer to clicks may have parts that no click points at, and pinholes'],
        asAnnotations: ['Everything, All like: make annotations', 'What is found becomes annotations instead of detections'],
        autoKeep: ['Click tool: auto-keep', 'A click without Shift or Alt keeps the last outline and begins the next object'],
        enterOnly: ['Click tool: confirm by Enter only', 'A double click keeps nothing'],
        asDetections: ['Click tool: make detections', 'What is kept becomes a detection instead of an annotation'],
        asChildren: ['Click tool: make children', 'What is kept becomes a child of the smallest annotation in sight that contains it'],
        cutAtNeighbours: ['Click tool: cut at neighbours', 'What is kept ends where an annotation of its class begins'],
]
def choices = [
        objects: ['Everything in selected: objects', 'What is looked for in a region', ['nuclei', 'glands']],
]
/** The choice of the project goes before that of the user. A file that cannot be read is reported by the script that needs it. */
def modelOfProject = {
    try {
        return ProjectSettings.model(getQuPath().getProject()?.getPath())
    } catch (IllegalArgumentException unreadable) {
        return ''
    }
}
def properties = [:]
def items = getQuPath().getPreferencePane().getPropertySheet().getItems()
def add = { name, words, property, type, among = null ->
    def item = new PropertyItemBuilder(property, type).name(words[0]).category('SAM').description(words[1])
    if (among) {
        item.propertyType(PropertyItemBuilder.PropertyType.CHOICE).choices(among)
    }
    items.add(item.build())
    properties[name] = property
    if (name == 'model') {
        // Scripts look into their project themselves: the choice of the one that is open now is none of another's.
        ScriptTexts.setting('model', { modelOfProject() ? '' : property.getValue() } as Supplier)
        ScriptTexts.setting('modelElsewhere', { property.getValue() } as Supplier)
    } else {
        ScriptTexts.setting(name, { property.getValue() } as Supplier)
    }
    property.addListener({ observable, before, now ->
        def tool = getQuPath().getStage().getProperties()['qupath-sam']
        tool?.set(name == 'model' ? 'modelElsewhere' : name, now)
        if (name == 'downsample') // the tool began without the um per pixel where both were set
            tool?.set('mpp', properties.mpp.getValue())
    } as ChangeListener)
}
texts.each { name, words -> add(name, words, PathPrefs.createPersistentPreference("sam.${name}".toString(), ''), String) }
choices.each { name, words -> add(name, words, PathPrefs.createPersistentPreference("sam.${name}".toString(), words[2][0]), String, words[2]) }
numbers.each { name, words -> add(name, words, PathPrefs.createPersistentPreference("sam.${name}".toString(), words[2] as double), Double) }
truths.each { name, words -> add(name, words, PathPrefs.createPersistentPreference("sam.${name}".toString(), false), Boolean) }
// Not in the pane: Server... has a field for it.
properties.serverProgram = PathPrefs.createPersistentPreference('sam.serverProgram', 'qupath-sam')
getQuPath().getStage().getProperties()['qupath-sam-settings'] = properties
