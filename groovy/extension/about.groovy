/*
 * Versions, and the licences of the models on the server.
 *
 * 1. The server is asked; where there is none, that is said.
 */
import io.github.qupathsam.client.SamClient
import io.github.qupathsam.extension.ScriptTexts
import javafx.application.Platform

Thread.startDaemon('qupath-sam-about') {
    def server
    try {
        server = SamClient.connect().withCloseable { it.description() }
    } catch (RuntimeException failure) {
        server = failure.getMessage()
    }
    def text = "SAM for QuPath ${ScriptTexts.version()} (Apache-2.0; used in QuPath, under the terms of the GPL-3)\n\n${server}"
    Platform.runLater { Dialogs.showMessageDialog('SAM', text.toString()) }
}
