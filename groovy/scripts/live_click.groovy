/*
 * Click on something and get its outline.
 *
 * 1. Start the server (`qupath-sam serve`) and install the client jar (`qupath-sam install-qupath`).
 * 2. Run this script in the script editor. Or set it as startup script (Edit > Preferences): Extensions > SAM is then always there.
 * 3. Choose the SAM tool in the toolbar (key J) and click on an object. A further click, or Shift, adds; Alt takes away. Drag a box round
 *    it, or drag with Shift (Alt) for a scribble. Tab shows what else a first click may have meant, and the next click goes on from
 *    there. The wheel with Ctrl makes the outline wider or narrower by whole pixels. Space pans.
 * 4. Enter or a double click keeps the outline as an annotation of the class that is set ("Auto set"); N keeps it, for the next object;
 *    Escape drops it; Ctrl+Z takes back the last click. An outline that is neither kept nor dropped waits where it is while another image
 *    is shown, until QuPath ends, which asks first.
 * 5. The right button offers what the keys do, once something has been clicked.
 * 6. Ctrl+click into an annotation of the class that is set refines that one; what is locked or hidden stays as it is.
 */
import groovy.transform.Field
import io.github.qupathsam.extension.*
import javafx.application.Platform
import javafx.beans.property.SimpleObjectProperty
import javafx.event.EventHandler
import javafx.scene.input.KeyCode
import javafx.scene.input.KeyCodeCombination
import javafx.scene.input.MouseEvent
import javafx.scene.paint.Paint
import qupath.fx.dialogs.Dialogs
import qupath.lib.gui.viewer.tools.PathTools

// Settings
@Field def modelElsewhere = ''        // where the project has chosen none; empty: the server's default
@Field def options = [minArea: 0, fillHoles: 0, simplify: 0, downsample: 0, mpp: 0, keepParts: false, choice: 'all']   // um2, um2, um (px2 and px without a pixel size)
@Field def key = KeyCode.J            // chooses the tool
@Field def restMs = 250               // the viewer rests when it has not moved for this long
@Field def autoKeep = false           // a click without Shift or Alt keeps the last outline and begins the next object
@Field def enterOnly = false          // a double click keeps nothing
@Field def asDetections = false       // outlines become detections
@Field def asChildren = false         // they become children of the smallest annotation in sight that contains them
@Field def cutAtNeighbours = false    // they end where an annotation in sight of the same class begins
@Field def namePattern = ''           // name of what is kept, such as '{class} {n}'; empty: none
@Field def colour = ''                // such as '#00c8ff'; empty: that of the class
@Field def opacity = 0.2              // of the preview, 0 to 1

// The client jar is looked for before anything else, so that its absence has a clear message and a non-zero exit.
try {
    this.class.classLoader.loadClass('io.github.qupathsam.client.SamClient')
} catch (ClassNotFoundException absent) {
    def remedy = 'The client jar is not installed. Run `qupath-sam install-qupath`, or drag qupath-sam-client.jar onto QuPath.'
    println "qupath-sam: ${remedy}"
    if (getQuPath() == null)
        System.exit(1)
    Dialogs.showErrorMessage('SAM', remedy)
    return
}

def gui = getQuPath()
if (gui == null) {
    println 'qupath-sam: live_click needs a window. Without one use segment_for_project.'
    System.exit(1)
}
def startup = Platform.isFxApplicationThread()
def settings = [autoKeep: autoKeep, enterOnly: enterOnly, asDetections: asDetections, asChildren: asChildren,
                cutAtNeighbours: cutAtNeighbours, namePattern: namePattern, colour: colour, opacity: opacity]
// The tool's own classes are in the jar, in the files of `groovy/click_tool`.
def classes = new GroovyClassLoader(this.class.classLoader)
classes.parseClass(ScriptTexts.clickTool(getCoreClasses()), 'click_tool.groovy')
def made = { String name, Object... values -> classes.loadClass(name).newInstance(values) }
def clicker = made('Clicker', [gui: gui, modelElsewhere: modelElsewhere, options: options, settings: settings, restMs: restMs])
def install = {
    // A second run of the script replaces what the first one does; tool, menu and what is not yet kept stay.
    def running = gui.getStage().getProperties()
    def former = running.remove('qupath-sam')
    former?.stop()
    running.put('qupath-sam', clicker)
    def tool = gui.getToolManager().getTools().find { it.getName() == 'SAM' }
    if (tool == null) {
        running['qupath-sam-paint'] = new SimpleObjectProperty<Paint>()
        def icon = made('ToolIcon', running['qupath-sam-paint'])
        tool = PathTools.createTool({ running['qupath-sam'].mouse(it) } as EventHandler<MouseEvent>, 'SAM', icon)
        clicker.showState(tool, null) // before there is a button: it gets its tooltip from here
        gui.getToolManager().installTool(tool, new KeyCodeCombination(key))
        gui.installCommand('Extensions>SAM>Click tool', { gui.getToolManager().setSelectedTool(tool) })
        gui.installCommand('Extensions>SAM>Server...', { running['qupath-sam'].describeServer() }) // the jar's extension has more
    }
    clicker.start(tool, former)
    if (!startup)
        gui.getToolManager().setSelectedTool(tool)
}
startup ? install() : Platform.runLater(install)
println 'qupath-sam: Extensions > SAM is installed'
