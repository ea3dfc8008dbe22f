package io.github.qupathsam.extension;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** The scripts in this jar, with a person's settings in place of those that they begin with. */
public final class ScriptTexts {
    /** Files of the folders click_tool and shared. */
    static final List<String> CLICK_TOOL = List.of("clicker", "gestures", "keeper", "preview");

    static final List<String> SHARED = List.of("answers", "found");

    private static final Map<String, Supplier<?>> SETTINGS = new LinkedHashMap<>();
    private static String edited = "";
    private static ClassLoader shared;

    private ScriptTexts() {}

    /**
     * A setting of the preferences pane.
     *
     * @param name as the scripts name it: a variable at their top ("model"), or a key of their options ("minArea")
     * @param value gives a text, number or truth value; null leaves the script's own
     */
    public static synchronized void setting(String name, Supplier<?> value) {
        SETTINGS.put(name, value);
    }

    /** The text of a script. */
    public static String of(String name) {
        return new String(resource("/io/github/qupathsam/scripts/" + name + ".groovy"), StandardCharsets.UTF_8);
    }

    /** The text of a script, with the settings of the preferences pane. */
    public static synchronized String withSettings(String name) {
        Map<String, Object> values = new LinkedHashMap<>();
        SETTINGS.forEach((setting, value) -> values.put(setting, value.get()));
        return withSettings(of(name), values);
    }

    static String withSettings(String text, Map<String, ?> values) {
        String changed = text;
        for (Map.Entry<String, ?> setting : withOneScale(values).entrySet()) {
            if (setting.getValue() != null) {
                String value = Matcher.quoteReplacement(literal(setting.getValue()));
                String name = Pattern.quote(setting.getKey());
                changed = changed.replaceFirst("(?m)^((?:@Field )?def " + name + " = )('[^'\\n]*'|\\[[^\\]\\n]*\\]|[\\w.]+)(?=\\s*(?://.*)?$)", "$1" + value);
                changed = changed.replaceFirst("(?m)^((?:@Field )?def (?:options|refining) = \\[.*\\b" + name + ": )('[^'\\n]*'|[\\w.]+)", "$1" + value);
            }
        }
        return changed;
    }

    /** Of two scales, which no call may have, the downsample: "um per pixel" counts only where it is 0. */
    private static Map<String, ?> withOneScale(Map<String, ?> values) {
        if (!(values.get("downsample") instanceof Number downsample && downsample.doubleValue() > 0)) {
            return values;
        }
        Map<String, Object> one = new LinkedHashMap<>(values);
        one.replace("mpp", 0);
        return one;
    }

    /**
     * A line that does again what a script of this jar did: for the workflow of an image, and for scripts made of it.
     *
     * @param settings by the scripts' names, as for {@link #setting}
     */
    public static String step(String name, Map<String, ?> settings) {
        StringBuilder values = new StringBuilder();
        settings.forEach((setting, value) ->
                values.append(values.length() == 0 ? "" : ", ").append(setting).append(": ").append(literal(value)));
        return "evaluate(io.github.qupathsam.extension.ScriptTexts.alone('" + name + "', ["
                + (values.length() == 0 ? ":" : values) + "], getCoreClasses()))";
    }

    /**
     * The text of a script, with settings, for where QuPath's default imports are not.
     *
     * <p>At its end the hierarchy says that it has changed: the next step of a workflow sees what this one made. QuPath says so only at
     * the end of all steps.
     *
     * @param imported the classes of QuPath that scripts know by their short names
     */
    public static String alone(String name, Map<String, ?> settings, Collection<Class<?>> imported) {
        StringBuilder text = new StringBuilder("import static qupath.lib.gui.scripting.QPEx.*\n");
        for (Class<?> each : imported) {
            text.append("import ").append(each.getCanonicalName()).append('\n');
        }
        String script = withSettings(of(name), settings);
        for (Map.Entry<String, ?> setting : settings.entrySet()) {
            // One that the script as it comes does not have: the person had added it to the options.
            String key = Pattern.quote(setting.getKey());
            boolean isThere = Pattern.compile("(?m)^def (?:" + key + " = |(?:options|refining) = \\[.*\\b" + key + ": )").matcher(script).find();
            if (!isThere) {
                String added = Matcher.quoteReplacement(setting.getKey() + ": " + literal(setting.getValue()));
                script = script.replaceFirst("(?m)^def options = \\[", "$0" + added + ", ");
            }
        }
        return text.append(script).append("\nfireHierarchyUpdate()\n").toString();
    }

    /**
     * The classes of the click tool, as one text: its files know each other.
     *
     * @param imported the classes of QuPath that scripts know by their short names
     */
    public static String clickTool(Collection<Class<?>> imported) {
        return classes("click_tool", CLICK_TOOL, imported);
    }

    /**
     * The classes that the scripts share: {@code Answers} and {@code Found}. They are compiled once, for "Run for project" runs a script
     * for each image.
     *
     * @param imported the classes of QuPath that scripts know by their short names
     * @param compile makes a class loader of their text
     */
    public static synchronized ClassLoader shared(Collection<Class<?>> imported, Function<String, ? extends ClassLoader> compile) {
        if (shared == null) {
            shared = compile.apply(sharedClasses(imported));
        }
        return shared;
    }

    static String sharedClasses(Collection<Class<?>> imported) {
        return classes("shared", SHARED, imported);
    }

    /** One text of the files of a folder, with their imports at its top. */
    private static String classes(String folder, List<String> parts, Collection<Class<?>> imported) {
        Set<String> imports = new TreeSet<>();
        imports.add("import static qupath.lib.gui.scripting.QPEx.*");
        imported.forEach(each -> imports.add("import " + each.getCanonicalName()));
        StringBuilder classes = new StringBuilder();
        for (String part : parts) {
            String text = new String(resource("/io/github/qupathsam/" + folder + "/" + part + ".groovy"), StandardCharsets.UTF_8);
            text.lines().filter(line -> line.startsWith("import ")).forEach(imports::add);
            text.lines().filter(line -> !line.startsWith("import ")).forEach(line -> classes.append(line).append('\n'));
        }
        return String.join("\n", imports) + "\n" + classes;
    }

    private static String literal(Object value) {
        if (value instanceof Number || value instanceof Boolean) {
            return value.toString();
        }
        if (value instanceof Collection<?> several) {
            return several.stream().map(ScriptTexts::literal).collect(Collectors.joining(", ", "[", "]"));
        }
        return "'" + value.toString().replace("\\", "\\\\").replace("'", "\\'").replace("\n", " ") + "'";
    }

    /** The script that is to be shown in the script editor next. */
    static synchronized void edit(String name) {
        edited = name;
    }

    /** Its name. */
    public static synchronized String edited() {
        return edited;
    }

    /** Of this jar, "0.1.0". */
    public static String version() {
        Properties properties = new Properties();
        try (InputStream stream = ScriptTexts.class.getResourceAsStream("/io/github/qupathsam/version.properties")) {
            properties.load(stream);
        } catch (IOException unreadable) {
            throw new UncheckedIOException(unreadable);
        }
        return properties.getProperty("version");
    }

    private static byte[] resource(String path) {
        try (InputStream stream = ScriptTexts.class.getResourceAsStream(path)) {
            if (stream == null) {
                throw new IllegalArgumentException("no " + path + " in this jar");
            }
            return stream.readAllBytes();
        } catch (IOException unreadable) {
            throw new UncheckedIOException(unreadable);
        }
    }
}
