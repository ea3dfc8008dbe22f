/*
 * Where the server is: address, TLS, token, model; a test of them; and a server on this machine.
 *
 * 1. Change what is wrong and press Test: it says what is there, or what is in the way and what to do about it.
 * 2. OK writes what was changed, and nothing else, to .qupath-sam/client.properties in the home folder. Tool and scripts go there from
 *    then on. The model is kept in the project that is open (sam.properties beside its file), and goes before that of the user.
 * 3. "Start a server here" starts one for this QuPath alone, which is in use until "Stop", the end of QuPath, or another address that is
 *    set with OK. Nothing of it is written down: the address above stays as it is. "In use" says where tool and scripts go.
 */
import io.github.qupathsam.client.LocalServer
import io.github.qupathsam.client.ProjectSettings
import io.github.qupathsam.client.SamClient
import io.github.qupathsam.client.Settings
import io.github.qupathsam.client.StoredSettings
import java.util.function.Consumer
import javafx.animation.Animation
import javafx.animation.KeyFrame
import javafx.animation.Timeline
import javafx.application.Platform
import javafx.event.ActionEvent
import javafx.event.EventHandler
import javafx.geometry.Insets
import javafx.scene.control.Button
import javafx.scene.control.ButtonType
import javafx.scene.control.CheckBox
import javafx.scene.control.ComboBox
import javafx.scene.control.Dialog
import javafx.scene.control.Label
import javafx.scene.control.PasswordField
import javafx.scene.control.TextArea
import javafx.scene.control.TextField
import javafx.scene.layout.GridPane
import javafx.scene.layout.HBox
import javafx.util.Duration

def gui = getQuPath()
def project = getProject()?.getPath()
def preferences = gui.getStage().getProperties()['qupath-sam-settings']
def stored
try {
    stored = StoredSettings.read()
} catch (IllegalArgumentException nowhere) {
    Dialogs.showErrorMessage('SAM', nowhere.getMessage())
    return
}
def trouble = stored.fault()
def modelOfUser = preferences.model.get() ?: stored.values().model
def modelOfProject = ''
try {
    modelOfProject = ProjectSettings.model(project)
} catch (IllegalArgumentException unreadable) {
    trouble = [trouble, unreadable.getMessage()].findAll().join('\n\n')
}

def host = new TextField(stored.values().host)
def port = new TextField(stored.values().port)
def tls = new CheckBox('Encrypted (TLS)')
tls.setSelected(stored.isEncrypted())
def ca = new TextField(stored.values().ca)
ca.setPromptText('server.pem, where its certificate is its own')
def token = new PasswordField()
token.setText(stored.values().token)
def model = new ComboBox()
model.setEditable(true)
model.setValue(project == null ? modelOfUser : modelOfProject)
model.setPromptText(project != null && modelOfUser ? "${modelOfUser}, as in all projects".toString() : "the server's default")
def told = new TextArea()
told.setEditable(false)
told.setWrapText(true)
told.setPrefRowCount(12)
told.setMinHeight(200)
def inUse = new Label()
def programField = new TextField(preferences.serverProgram.get())
def startButton = new Button('Start a server here')
def stopButton = new Button('Stop')
def logButton = new Button('Log')
def testButton = new Button('Test')

/** What the fields of the address say, as settings. */
def address = {
    [host: host.getText().strip(), port: port.getText().strip(), tls: tls.isSelected(), ca: ca.getText().strip(), token: token.getText().strip()]
}
def addressBefore = address()
/** What a person has changed in them. */
def changes = { address().findAll { name, value -> value != addressBefore[name] } }
def chosenModel = { (model.getEditor().getText() ?: '').strip() }
def modelBefore = chosenModel()
/** Where tool and scripts go now. */
def showUse = {
    def local = LocalServer.inUse(), starting = LocalServer.running()
    inUse.setText(local?.isAlive() ? "the server started here, 127.0.0.1:${local.port()}".toString() :
            local != null ? "the server started here, which has ended: Start, or Stop to go back to ${stored.address()}".toString() :
            stored.address() + (starting != null ? ', until the server that is starting here is ready' : ''))
    stopButton.setDisable(starting == null && local == null)
    logButton.setDisable(starting == null && local == null)
}
def say = { text ->
    told.setText([trouble, text].findAll().unique().join('\n\n'))
}
def tests = 0
/** Asks the server in use, or, where the address is being changed, that one. */
def test = {
    say('Asking ...')
    def changed = changes(), mine = ++tests
    Thread.startDaemon('qupath-sam-test') {
        def text, names = []
        try {
            def settings = changed || LocalServer.inUse() == null ? stored.toSettings(changed + [patience: 3]) : Settings.load([patience: 3])
            SamClient.connect(settings).withCloseable {
                text = it.description()
                names = it.models().findAll { it.available() && it.name() != 'fake' }.collect { it.name() }
            }
        } catch (RuntimeException failure) {
            text = failure.getMessage()
        }
        Platform.runLater {
            if (mine != tests)
                return // another has been asked meanwhile
            say(text)
            def chosen = chosenModel()
            model.getItems().setAll([''] + names)
            model.setValue(chosen)
        }
    }
}
def tool = { gui.getStage().getProperties()['qupath-sam'] }
def reconnect = { tool()?.connect() }

def dialog = new Dialog()
def startingLog = new Timeline(new KeyFrame(Duration.millis(500), {
    def lines = LocalServer.running()?.log()?.readLines() ?: []
    say("Starting; the first time this may take a minute ...\n${lines.takeRight(8).join('\n')}")
} as EventHandler))
startingLog.setCycleCount(Animation.INDEFINITE)
/** On the JavaFX thread, when the server that was started here listens, or has ended without being asked to. */
def changedHere = { server, isThere ->
    startingLog.stop()
    tool()?.starting(false)
    showUse()
    if (isThere) {
        reconnect()
        test()
    } else {
        tests++
        def text = "The server that was started here has ended. Its last words:\n${server.log().readLines().takeRight(20).join('\n')}"
        dialog.isShowing() ? say(text) : Dialogs.showErrorNotification('SAM', 'The server that was started here has ended. Start it again in Extensions > SAM > Server...')
    }
}
testButton.setOnAction({ test() } as EventHandler)
startButton.setOnAction({
    preferences.serverProgram.set(programField.getText().strip())
    tests++
    try {
        def local
        local = LocalServer.start(preferences.serverProgram.get(), [], { started ->
            Platform.runLater { changedHere(local, started > 0) }
        } as Consumer)
        tool()?.starting(true)
        startingLog.playFromStart()
        say('Starting; the first time this may take a minute ...')
    } catch (RuntimeException failure) {
        say(failure.getMessage())
    }
    showUse()
} as EventHandler)
stopButton.setOnAction({
    tests++
    startingLog.stop()
    LocalServer.stop()
    tool()?.starting(false)
    reconnect()
    showUse()
    say("Stopped. In use: ${stored.address()}")
} as EventHandler)
logButton.setOnAction({
    tests++
    told.setText((LocalServer.running() ?: LocalServer.inUse())?.log() ?: '')
    told.setScrollTop(Double.MAX_VALUE)
} as EventHandler)

def grid = new GridPane()
grid.setHgap(8)
grid.setVgap(6)
grid.setPadding(new Insets(10))
[['Host', host], ['Port', port], ['', tls], ['Certificate', ca], ['Token', token], [project == null ? 'Model' : 'Model of this project', model],
 ['', new HBox(8, testButton)], ['Program', programField], ['', new HBox(8, startButton, stopButton, logButton)], ['In use', inUse]].eachWithIndex { row, i ->
    grid.add(new Label(row[0]), 0, i)
    grid.add(row[1], 1, i)
}
grid.add(told, 0, 10, 2, 1)
[host, ca, token, programField].each { it.setPrefColumnCount(32) }

/** Keeps what was changed; what cannot be kept is said, and the dialog stays as it is. */
def save = {
    def changed = changes(), isOtherModel = chosenModel() != modelBefore
    def words = stored.save(isOtherModel && project == null ? changed + [model: chosenModel()] : changed)
    if (isOtherModel && project != null)
        ProjectSettings.saveModel(project, chosenModel())
    else if (isOtherModel && preferences.model.get())
        preferences.model.set(chosenModel()) // it goes before what is in the file
    if (changed && (LocalServer.running() != null || LocalServer.inUse() != null)) {
        LocalServer.stop() // the address that was set last is the one that is meant
        tool()?.starting(false)
        words = [words, "The server that was started here is ended. In use: ${changed.host ?: stored.values().host}:${changed.port ?: stored.values().port}"].findAll().join('\n\n')
    }
    if (changed || words || isOtherModel) // else the connection is made again for nothing
        reconnect()
    return words
}
dialog.initOwner(gui.getStage())
dialog.setTitle('SAM server')
dialog.setResizable(true)
dialog.getDialogPane().setContent(grid)
dialog.getDialogPane().getButtonTypes().setAll(ButtonType.OK, ButtonType.CANCEL)
def words = ''
dialog.getDialogPane().lookupButton(ButtonType.OK).addEventFilter(ActionEvent.ACTION, { event ->
    try {
        words = save()
    } catch (RuntimeException failure) {
        event.consume()
        tests++
        told.setText(failure.getMessage())
    }
} as EventHandler)
showUse()
test()
dialog.showAndWait()
startingLog.stop()
if (words)
    Dialogs.showMessageDialog('SAM', words)
