package io.github.qupathsam.client;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Map;
import java.util.Properties;

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
        return project == null ? "" : read(file(project)).getProperty("model", "").strip();
    }

    /**
     * Keeps the choice of a model in the project; the file is wholly the old or wholly the new one.
     *
     * @param model empty takes the choice back
     * @throws UncheckedIOException where the file cannot be written
     */
    public static void saveModel(Path project, String model) {
        Path file = file(project);
        Properties properties = read(file);
        properties.remove("model");
        if (!model.isBlank()) {
            properties.setProperty("model", model.strip());
        }
        try {
            Path written = Files.createTempFile(file.getParent(), "sam", ".part");
            try {
                try (var writer = Files.newBufferedWriter(written, StandardCharsets.UTF_8)) {
                    properties.store(writer, "The model of this project for qupath-sam; see docs/qupath.md");
                }
                Files.move(written, file, StandardCopyOption.REPLACE_EXISTING);
            } finally {
                Files.deleteIfExists(written);
            }
        } catch (IOException failure) {
            throw new UncheckedIOException(
                    "cannot write " + file + " (" + failure.getMessage() + "); make the project's folder writable", failure);
        }
    }

    private static Path file(Path project) {
        return project.toAbsolutePath().resolveSibling(FILE);
    }

    private static Properties read(Path file) {
        Properties properties = new Properties();
        if (Files.isRegularFile(file)) {
            try (var reader = Files.newBufferedReader(file, StandardCharsets.UTF_8)) {
                properties.load(reader);
            } catch (IOException | IllegalArgumentException unreadable) {
                throw new IllegalArgumentException(
                        "cannot read " + file + " (" + unreadable.getMessage() + "); correct or delete it", unreadable);
            }
        }
        return properties;
    }
}
