package io.github.qupathsam.client;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;

/**
 * What a person has set, as text, also where it cannot be used: for a dialog in which it is shown, corrected and saved.
 *
 * @param values by the names of {@link Settings}; the default where nothing is set
 * @param setAbove name to what sets it above the file, such as "the environment variable QUPATH_SAM_PORT": a change of the file is no
 *     change there
 * @param fileFault why the file cannot be used, and what to do; empty where it can. Then {@code values} has what can be read of it
 * @param file where they are saved
 */
public record StoredSettings(Map<String, String> values, Map<String, String> setAbove, String fileFault, Path file) {
    private static final String TITLE = "Where qupath-sam's server is; see docs/qupath.md";

    /** Of this machine and user. Of a {@link LocalServer} there is nothing here. */
    public static StoredSettings read() {
        return read(System::getProperty, System.getenv()::get);
    }

    static StoredSettings read(UnaryOperator<String> systemProperty, UnaryOperator<String> environment) {
        Map<String, String> values = new TreeMap<>(Settings.DEFAULTS);
        Map<String, String> above = new TreeMap<>();
        Path file = file(systemProperty, environment);
        String fault = "";
        if (!Files.exists(file) && named(systemProperty, environment) != null) {
            fault = "no settings file " + file + "; correct qupath.sam.settings";
        }
        PropertiesFile.Content content = PropertiesFile.read(file);
        if (!content.fault().isEmpty()) {
            fault = "cannot use " + file + ": " + content.fault();
        }
        for (var setting : content.values().entrySet()) {
            try {
                values.put(Settings.known(setting.getKey(), file.toString()), setting.getValue());
            } catch (IllegalArgumentException unknown) {
                fault = unknown.getMessage();
            }
        }
        for (String name : Settings.DEFAULTS.keySet()) {
            String variable = "QUPATH_SAM_" + name.toUpperCase(Locale.ROOT);
            put(values, above, name, environment.apply(variable), "the environment variable " + variable);
            put(values, above, name, systemProperty.apply("qupath.sam." + name), "the system property qupath.sam." + name);
        }
        return new StoredSettings(values, above, fault, file);
    }

    /** Why these settings cannot be used, and what to do; empty where they can. */
    public String fault() {
        if (!fileFault.isEmpty()) {
            return fileFault;
        }
        try {
            Settings.of(values);
            return "";
        } catch (IllegalArgumentException wrong) {
            return wrong.getMessage();
        }
    }

    /**
     * These settings with what a person sees now in place of what stands there, to try it.
     *
     * @throws IllegalArgumentException where they cannot be used
     */
    public Settings toSettings(Map<String, ?> shown) {
        Map<String, String> all = new TreeMap<>(values);
        shown.forEach((name, value) -> all.put(Settings.known(name, "settings"), String.valueOf(value)));
        return Settings.of(all);
    }

    /** Whether the connection is encrypted, as far as that can be read. */
    public boolean isEncrypted() {
        return List.of("true", "1", "yes", "on").contains(values.get("tls").strip().toLowerCase(Locale.ROOT))
                || !values.get("ca").isBlank()
                || !values.get("certificate").isBlank();
    }

    /** Host and port, as they stand there. */
    public String address() {
        return values.get("host") + ":" + values.get("port");
    }

    /**
     * Writes what a person has changed; all else in the file stays as it is. A file that cannot be used is kept beside the new one,
     * which then has all these settings.
     *
     * @param shown what the person sees now, by the names of the settings
     * @return what there is to be told beside: where the unusable file is, what goes before the change; empty where there is nothing
     * @throws IllegalArgumentException where the settings would not be taken: then nothing is written
     * @throws UncheckedIOException where the file cannot be written
     */
    public String save(Map<String, ?> shown) {
        Map<String, String> changes = new TreeMap<>();
        shown.forEach((name, value) -> {
            if (!String.valueOf(value).equals(values.get(Settings.known(name, "settings")))) {
                changes.put(name, String.valueOf(value));
            }
        });
        boolean isBroken = !fileFault.isEmpty() && Files.exists(file);
        if (changes.isEmpty() && !isBroken) {
            return "";
        }
        toSettings(changes);
        StringBuilder told = new StringBuilder();
        try {
            Files.createDirectories(file.toAbsolutePath().getParent());
        } catch (IOException failure) {
            throw new UncheckedIOException("cannot make the folder of " + file + " (" + FailureText.reason(failure) + ")", failure);
        }
        if (isBroken) {
            Map<String, String> all = new TreeMap<>(values);
            all.keySet().removeAll(setAbove.keySet()); // set elsewhere
            all.putAll(changes);
            told.append("The settings file could not be used. It is kept as ").append(PropertiesFile.replace(file, withoutDefaults(all), TITLE)).append(". ");
        } else {
            PropertiesFile.change(file, withoutDefaults(changes), TITLE, true); // there may be a token in it
        }
        TreeSet<String> hidden = new TreeSet<>(changes.keySet());
        hidden.retainAll(setAbove.keySet());
        if (!hidden.isEmpty()) {
            told.append(hidden.stream().map(setAbove::get).collect(Collectors.joining(" and ")))
                    .append(" goes before what is saved; take it away, and start QuPath again.");
        }
        return told.toString().strip();
    }

    /** A default is no line of the file. */
    private static Map<String, String> withoutDefaults(Map<String, String> values) {
        Map<String, String> written = new TreeMap<>(values);
        written.replaceAll((name, value) -> value.equals(Settings.DEFAULTS.get(name)) ? "" : value);
        return written;
    }

    private static String named(UnaryOperator<String> systemProperty, UnaryOperator<String> environment) {
        String named = systemProperty.apply("qupath.sam.settings");
        return named == null ? environment.apply("QUPATH_SAM_SETTINGS") : named;
    }

    private static Path file(UnaryOperator<String> systemProperty, UnaryOperator<String> environment) {
        String named = named(systemProperty, environment);
        try {
            return named != null
                    ? Path.of(named)
                    : Path.of(String.valueOf(systemProperty.apply("user.home")), ".qupath-sam", "client.properties");
        } catch (InvalidPathException impossible) {
            throw new IllegalArgumentException("no path: " + named + "; correct qupath.sam.settings", impossible);
        }
    }

    private static void put(Map<String, String> values, Map<String, String> above, String name, String value, String source) {
        if (value != null) {
            values.put(name, value);
            above.put(name, source);
        }
    }
}
