package io.github.qupathsam.extension;

import io.github.qupathsam.client.ScriptRun;
import java.util.List;
import javafx.application.Platform;
import javax.script.ScriptEngine;
import javax.script.ScriptEngineManager;
import qupath.lib.common.Version;
import qupath.lib.gui.QuPathGUI;
import qupath.lib.gui.extensions.QuPathExtension;
import qupath.lib.images.ImageData;

/**
 * Extensions > SAM, and the tool in the toolbar. Whatever is done is done by Groovy scripts in this jar, the same that stand in
 * {@code groovy/scripts} and run alone: they know each QuPath from 0.5 to 0.7, and this class only what is alike in all.
 */
public final class SamExtension implements QuPathExtension {
    private static final String MENU = "Extensions>SAM>";

    /**
     * A command of the menu.
     *
     * @param name in the menu
     * @param script what it runs
     * @param inBackground it asks the server and waits for it; else it opens a window, on the JavaFX thread
     */
    record Command(String name, String script, boolean inBackground) {}

    static final List<Command> COMMANDS = List.of(
            new Command("Segment selected", "segment_selected", true),
            new Command("Refine selected", "refine_selected", true),
            new Command("Everything in selected", "everything_in_selected", true),
            new Command("All like selected", "like_selected", true),
            new Command("Propagate selected", "propagate_selected", true),
            new Command("Server...", "server", false),
            new Command("Settings...", "settings", false),
            new Command("About", "about", false));

    /** Scripts that are opened in the script editor, where "Run for project" is, with the settings as they are. */
    static final List<Command> TO_EDITOR = List.of(
            new Command("Run for project>Segment...", "segment_for_project", false),
            new Command("Run for project>Refine...", "refine_for_project", false),
            new Command("Run for project>Everything...", "everything_for_project", false),
            new Command("Run for project>All like examples...", "like_for_project", false),
            new Command("Create script>Everything in selected", "everything_in_selected", false),
            new Command("Create script>All like selected", "like_selected", false),
            new Command("Create script>Propagate selected", "propagate_selected", false),
            new Command("Create script>Segment selected", "segment_selected", false),
            new Command("Create script>Refine selected", "refine_selected", false));

    @Override
    public void installExtension(QuPathGUI qupath) {
        // Later: extensions are installed while the window is still being put together.
        Platform.runLater(() -> {
            run("settings_pane", qupath.getImageData());
            run("live_click", qupath.getImageData());
            for (Command command : COMMANDS) {
                // Here, and not when the script begins: a person may have turned to another image by then.
                qupath.installCommand(MENU + command.name(), () -> start(command, qupath.getImageData()));
            }
            for (Command command : TO_EDITOR) {
                qupath.installCommand(MENU + command.name(), () -> edit(command.script(), qupath.getImageData()));
            }
        });
    }

    @Override
    public String getName() {
        return "SAM";
    }

    @Override
    public String getDescription() {
        return "Outlines objects from clicks, boxes and rough outlines with SAM models on a qupath-sam server.";
    }

    @Override
    public Version getVersion() {
        return Version.parse(ScriptTexts.version());
    }

    @Override
    public Version getQuPathVersion() {
        return Version.parse("0.5.0");
    }

    /** @param image that is in view; null where none is */
    private static void start(Command command, ImageData<?> image) {
        if (!command.inBackground()) {
            run(command.script(), image);
            return;
        }
        Thread thread = new Thread(() -> run(command.script(), image), "qupath-sam-" + command.script());
        thread.setDaemon(true);
        // Groovy looks for this jar's classes with the loader of the thread that runs it.
        thread.setContextClassLoader(SamExtension.class.getClassLoader());
        thread.start();
    }

    private static void edit(String script, ImageData<?> image) {
        ScriptTexts.edit(script);
        run("edit_script", image);
    }

    private static void run(String script, ImageData<?> image) {
        // As QuPath sets it with a thread's first script, once: put back, later scripts of this thread would not find this jar.
        Thread.currentThread().setContextClassLoader(SamExtension.class.getClassLoader());
        try {
            ScriptEngine engine = new ScriptEngineManager(QuPathGUI.class.getClassLoader()).getEngineByName("groovy");
            engine.put("text", ScriptTexts.withSettings(script));
            engine.put("imageData", image);
            engine.eval(ScriptTexts.of("run_script"));
        } catch (Throwable failure) {
            show("qupath-sam: " + script + ": " + ScriptRun.told(failure));
        }
    }

    /** A sentence in a dialog; QuPath's own class of dialogs is none of those that this jar is compiled against. */
    private static void show(String sentence) {
        System.err.println(sentence);
        try {
            ScriptEngine engine = new ScriptEngineManager(QuPathGUI.class.getClassLoader()).getEngineByName("groovy");
            engine.put("sentence", sentence);
            engine.eval("qupath.fx.dialogs.Dialogs.showErrorMessage('SAM', sentence)");
        } catch (Throwable noDialog) {
            ScriptRun.told(noDialog);
        }
    }
}
