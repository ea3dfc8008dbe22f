/*
 * Where the server is: address, TLS, token, model; a test of them; and a server on this machine.
 *
 * 1. Change what is wrong and press Test: it says what is there, or what is in the way and what to do about it.
 * 2. OK writes .qupath-sam/client.properties in the home folder. Tool and scripts go there from then on. The model is kept in the project
 *    that is open (sam.properties beside its file), and goes before that of the user.
 * 3. "Start a server here" starts one for this QuPath alone; it ends with it, or with "Stop".
 */
import io.github.qupathsam.client.LocalServer
import io.github.qupathsam.client.ProjectSettings
import io.github.qupathsam.client.SamClient
import io.github.qupathsam.client.Settings
import java.util.function.Consumer
import javafx.animation.KeyFrame
import javafx.animation.Timeline
import javafx.application.Platform
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
import qupath.lib.gui.prefs.PathPrefs

def project = getProject()?.getPath()
def before
def chosenBefore = ''
def trouble = ''
try {
    before = Settings.load()
    chosenBefore = project == null ? before.model() : ProjectSettings.model(project)
} catch (IllegalArgumentException wrong) {
    trouble = wrong.getMessage()
}
def program = PathPrefs.createPersistentPreference('sam.serverProgram', 'qupath-sam')

def host = new TextField(before?.host() ?: '127.0.0.1')
def port = new TextField(String.valueOf(before?.port() ?: 50051))
def tls = new CheckBox('Encrypted (TLS)')
tls.setSelected(before?.tls() ?: false)
def ca = new TextField(before?.ca() ?: '')
ca.setPromptText('server.pem, where its certificate is its own')
def token = new PasswordField()
token.setText(before?.token() ?: '')
def model = new ComboBox()
model.setEditable(true)
model.setValue(chosenBefore)
model.setPromptText(project != null && before?.model() ? "${before.model()}, as in all projects".toString() : "the server's default")
def told = new TextArea(trouble)
told.setEditable(false)
told.setWrapText(true)
told.setPrefRowCount(12)
told.setMinHeight(200)
def programField = new TextField(program.get())
def startButton = new Button('Start a server here')
def stopButton = new Button('Stop')
def testButton = new Button('Test')
testButton.setDefaultButton(false)

/** What the fields say, as settings. */
def fields = {
    [host: host.getText().strip(), port: port.getText().strip(), tls: tls.isSelected(), ca: ca.getText().strip(),
     token: token.getText().strip(), model: (model.getValue() ?: '').toString().strip()]
}
def test = {
    told.setText('Asking ...')
    def asked = fields() + [patience: 3]
    Thread.startDaemon('qupath-sam-test') {
        def text, names = []
        try {
            SamClient.connect(asked).withCloseable {
                text = it.description()
                names = it.models().findAll { it.available() && it.name() != 'fake' }.collect { it.name() }
            }
        } catch (RuntimeException failure) {
            text = failure.getMessage()
        }
        Platform.runLater {
            told.setText(text)
            def chosen = model.getValue()
            model.getItems().setAll([''] + names)
            model.setValue(chosen)
        }
    }
}
def tool = { getQuPath().getStage().getProperties()['qupath-sam'] }
def reconnect = { tool()?.connect() }
testButton.setOnAction({ test() } as EventHandler)
startButton.setOnAction({
    program.set(programField.getText().strip())
    told.setText('Starting; the first time this may take a minute ...')
    tool()?.starting(true)
    try {
        def local
        local = LocalServer.start(program.get(), [], { started ->
            Platform.runLater {
                if (started > 0) {
                    host.setText('127.0.0.1')
                    port.setText(String.valueOf(started))
                    tls.setSelected(false)
                    ca.clear()
                    token.setText(Settings.load().token())
                    reconnect()
                    test()
                } else {
                    tool()?.starting(false)
                    told.setText("The server has ended:\n${local?.log() ?: ''}")
                }
            }
        } as Consumer)
    } catch (RuntimeException failure) {
        tool()?.starting(false)
        told.setText(failure.getMessage())
    }
} as EventHandler)
stopButton.setOnAction({
    LocalServer.stop()
    reconnect()
    told.setText('Stopped.')
} as EventHandler)

def grid = new GridPane()
grid.setHgap(8)
grid.setVgap(6)
grid.setPadding(new Insets(10))
[['Host', host], ['Port', port], ['', tls], ['Certificate', ca], ['Token', token], [project == null ? 'Model' : 'Model of this project', model],
 ['', new HBox(8, testButton)], ['Program', programField], ['', new HBox(8, startButton, stopButton)]].eachWithIndex { row, i ->
    grid.add(new Label(row[0]), 0, i)
    grid.add(row[1], 1, i)
}
grid.add(told, 0, 9, 2, 1)
[host, ca, token, programField].each { it.setPrefColumnCount(32) }

def dialog = new Dialog()
dialog.initOwner(getQuPath().getStage())
dialog.setTitle('SAM server')
dialog.setResizable(true)
dialog.getDialogPane().setContent(grid)
dialog.getDialogPane().getButtonTypes().setAll(ButtonType.OK, ButtonType.CANCEL)
if (!trouble)
    test()
dialog.showAndWait().filter { it == ButtonType.OK }.ifPresent {
    def local = LocalServer.running()
    try {
        if (local != null && port.getText().strip() == String.valueOf(local.port()))
            Settings.save(fields().subMap(project == null ? ['model'] : [])) // that server ends with QuPath: its address is nothing to remember
        else
            Settings.save(project == null ? fields() : fields().findAll { name, value -> name != 'model' })
        if (project != null && fields().model != chosenBefore)
            ProjectSettings.saveModel(project, fields().model)
        reconnect()
    } catch (RuntimeException failure) {
        Dialogs.showErrorMessage('SAM', failure.getMessage())
    }
}
