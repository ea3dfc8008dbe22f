package io.github.qupathsam.client;

import java.nio.file.Path;
import java.util.Map;

/**
 * What a QuPath project says of the server's use: the model, in the file {@code sam.properties} beside the project's file.
 *
 * <p>A file, because QuPath 0.5 keeps no metadata of a project.
 */
public final class ProjectSettings {
    private static final String FILE = "sam.properties";

    private ProjectSettings() {}

    /**
     * The project's settings, to be put above those of the user: {@code SamClient.connect(ProjectSettings.of(getProject()?.getPath()))}.
     *
     * @param project the project's file (.qpproj); null where no project is open
     * @throws IllegalArgumentException where the project's settings cannot be read
     */
    public static Map<String, String> of(Path project) {
        String model = model(project);
        return model.isEmpty() ? Map.of() : Map.of("model", model);
    }

    /** The model that the project has chosen; empty leaves it to the settings of the user. Arguments and errors as {@link #of}. */
    public static String model(Path project) {
        return project == null ? "" : read(file(project)).getOrDefault("model", "").strip();
    }

    /**
     * Keeps the choice of a model in the project; the file is wholly the old or wholly the new one, and what else stands there stays.
     *
     * @param model empty takes the choice back
     * @throws IllegalArgumentException where the file that is there cannot be read
     * @throws java.io.UncheckedIOException where the file cannot be written
     */
    public static void saveModel(Path project, String model) {
        read(file(project));
        PropertiesFile.change(file(project), Map.of("model", model.strip()), "The model of this project for qupath-sam; see docs/qupath.md", false);
    }

    private static Path file(Path project) {
        return project.toAbsolutePath().resolveSibling(FILE);
    }

    private static Map<String, String> read(Path file) {
        PropertiesFile.Content content = PropertiesFile.read(file);
        if (!content.fault().isEmpty()) {
            throw new IllegalArgumentException("cannot use " + file + ": " + content.fault() + "; or delete it");
        }
        return content.values();
    }
}
