package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.lang.reflect.InvocationTargetException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Every script of this repository parses with the Groovy of every QuPath that we support; no class of QuPath is needed for that. */
class ScriptsParseTest {
    private static final Path SCRIPTS = Path.of(System.getProperty("repository"), "groovy", "scripts");

    /** What the extension runs beside them. */
    private static final Path EXTENSION = Path.of(System.getProperty("repository"), "groovy", "extension");

    /** Classes that scripts take from the jar. */
    private static final List<Path> CLASSES = List.of(SCRIPTS.resolveSibling("click_tool"), SCRIPTS.resolveSibling("shared"));

    static Stream<String> versions() {
        return Stream.of(System.getProperty("groovy.versions").split(","));
    }

    static List<Path> scripts() throws Exception {
        try (Stream<Path> files = Stream.concat(Files.list(SCRIPTS), Files.list(EXTENSION))) {
            return files.filter(file -> file.toString().endsWith(".groovy")).sorted().toList();
        }
    }

    @ParameterizedTest
    @MethodSource("versions")
    void everyScriptParses(String version) throws Exception {
        assertFalse(scripts().isEmpty(), "no scripts in " + SCRIPTS);
        List<Path> all = new ArrayList<>(scripts());
        for (Path folder : CLASSES) {
            try (Stream<Path> files = Files.list(folder)) {
                all.addAll(files.toList());
            }
        }
        List<String> texts = new ArrayList<>();
        for (Path file : all) {
            texts.add(Files.readString(file));
        }
        parse(version, texts);
    }

    @ParameterizedTest
    @MethodSource("versions")
    void theParserIsAwake(String version) {
        assertThrows(InvocationTargetException.class, () -> parse(version, List.of("def x = { -> ")));
    }

    /** People copy scripts into QuPath's editor: what they should change stands on top, and steps are numbered. */
    @Test
    void everyScriptSaysItsSteps() throws Exception {
        for (Path script : scripts()) {
            String text = Files.readString(script);
            assertEquals(true, text.startsWith("/*") && text.contains(" * 1. "), script.getFileName() + " has no numbered steps");
        }
    }

    /** A project's night of work does not delay a person who clicks; all objects of a region are always asked for so. */
    @Test
    void everyScriptForAProjectAsksForABatch() throws Exception {
        for (Path script : scripts()) {
            if (script.getFileName().toString().endsWith("_for_project.groovy")) {
                assertEquals(true, Files.readString(script).matches("(?s).*(batch: true|client\\.region\\().*"), script.getFileName() + " is in the way of clicks");
            }
        }
    }

    private static void parse(String version, List<String> texts) throws Exception {
        URL jar = Path.of(System.getProperty("groovy.folder"), "groovy-" + version + ".jar").toUri().toURL();
        try (URLClassLoader groovy = new URLClassLoader(new URL[] {jar}, ClassLoader.getPlatformClassLoader())) {
            Class<?> unitClass = groovy.loadClass("org.codehaus.groovy.control.CompilationUnit");
            int conversion = groovy.loadClass("org.codehaus.groovy.control.Phases").getField("CONVERSION").getInt(null);
            for (String text : texts) {
                Object unit = unitClass.getConstructor().newInstance();
                unitClass.getMethod("addSource", String.class, String.class).invoke(unit, "Script.groovy", text);
                unitClass.getMethod("compile", int.class).invoke(unit, conversion);
            }
        }
    }
}
