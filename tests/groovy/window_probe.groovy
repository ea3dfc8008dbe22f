/*
 * QuPath's startup script in the tests of its window. It runs the user's own startup script, by the call with which QuPath runs the one
 * that the preferences name, and then answers questions: each connection to 127.0.0.1 sends Groovy source, which is run on the JavaFX
 * thread, and gets back JSON: {"value": ...} or {"error": "..."}. Script, and the file for the port, are named by the environment.
 */
import java.util.concurrent.CompletableFuture
import javafx.application.Platform
import javafx.event.EventHandler
import javafx.scene.input.KeyEvent
import javafx.scene.input.MouseEvent
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.customizers.ImportCustomizer
import qupath.lib.gui.scripting.QPEx

def imports = new ImportCustomizer()
QPEx.getCoreClasses().each { imports.addImports(it.getName()) }
imports.addImports('java.awt.geom.Point2D', 'javafx.application.Platform', 'qupath.lib.gui.prefs.PathPrefs')
imports.addStaticStars(QPEx.getName())
def configuration = new CompilerConfiguration()
configuration.addCompilationCustomizers(imports)
def loader = this.class.classLoader

def answer = { String source ->
    def answered = new CompletableFuture()
    Platform.runLater {
        try {
            def binding = new Binding(gui: getQuPath(), viewer: getCurrentViewer())
            answered.complete([value: new GroovyShell(loader, binding, configuration).evaluate(source)])
        } catch (Throwable failure) {
            answered.complete([error: failure.toString()])
        }
    }
    return GsonTools.getInstance().toJson(answered.get())
}

def startupScript = System.getenv('WINDOW_STARTUP_SCRIPT')
if (startupScript)
    getQuPath().runScript(new File(startupScript), null)

// How many keys and mouse buttons have been let go in the main window, so that whoever pressed them knows when QuPath has seen them.
def let = [keys: 0, buttons: 0]
getQuPath().getStage().getProperties().put('window-probe', let)
getQuPath().getStage().addEventFilter(KeyEvent.KEY_RELEASED, { let.keys++ } as EventHandler<KeyEvent>)
getQuPath().getStage().addEventFilter(MouseEvent.MOUSE_RELEASED, { let.buttons++ } as EventHandler<MouseEvent>)

def listening = new ServerSocket(0, 10, InetAddress.getLoopbackAddress())
Thread.startDaemon('window-probe') {
    while (true) {
        listening.accept().withCloseable { socket ->
            def source = new String(socket.getInputStream().readAllBytes(), 'UTF-8') // closing the stream would close the socket
            socket.getOutputStream().write(answer(source).getBytes('UTF-8'))
        }
    }
}
def file = new File(System.getenv('WINDOW_PROBE_PORT'))
def written = new File(file.getPath() + '.part')
written.text = listening.getLocalPort()
written.renameTo(file)
