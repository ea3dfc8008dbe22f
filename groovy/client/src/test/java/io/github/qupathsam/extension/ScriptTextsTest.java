package io.github.qupathsam.extension;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.ServiceLoader;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import qupath.lib.gui.extensions.QuPathExtension;

class ScriptTextsTest {
    private static final Path SCRIPTS = Path.of(System.getProperty("repository"), "groovy", "scripts");

    @Test
    void theJarCarriesTheScriptsAsTheyAre() throws Exception {
        try (Stream<Path> files = Files.list(SCRIPTS)) {
            for (Path file : files.toList()) {
                String name = file.getFileName().toString().replace(".groovy", "");
                assertEquals(Files.readString(file), ScriptTexts.of(name));
            }
        }
    }

    /** Scripts take them from the jar: a file that is not named there would be missing in QuPath alone. */
    @ParameterizedTest
    @ValueSource(strings = {"click_tool", "shared"})
    void theClassesThatScriptsTakeFromTheJarAreOneTextWithItsImportsOnTop(String folder) throws Exception {
        String text = folder.equals("shared") ? ScriptTexts.sharedClasses(List.of(Map.class)) : ScriptTexts.clickTool(List.of(Map.class));
        List<String> lines = text.lines().toList();
        int end = lines.stream().filter(line -> line.startsWith("import ")).mapToInt(lines::lastIndexOf).max().orElseThrow();
        assertTrue(lines.subList(0, end + 1).stream().allMatch(line -> line.startsWith("import ")), text);
        assertTrue(lines.contains("import java.util.Map") && lines.contains("import static qupath.lib.gui.scripting.QPEx.*"));
        try (Stream<Path> files = Files.list(SCRIPTS.resolveSibling(folder))) {
            for (Path file : files.toList()) {
                List<String> own = Files.readAllLines(file);
                assertTrue(own.stream().anyMatch(line -> line.startsWith("class ")), file.toString());
                assertTrue(lines.containsAll(own), file.toString());
            }
        }
    }

    @Test
    void whatScriptsShareIsCompiledOnce() {
        List<String> compiled = new ArrayList<>();
        ClassLoader mine = getClass().getClassLoader();
        for (int run = 0; run < 2; run++) {
            assertSame(mine, ScriptTexts.shared(List.of(), text -> {
                compiled.add(text);
                return mine;
            }));
        }
        assertEquals(List.of(ScriptTexts.sharedClasses(List.of())), compiled);
    }

    @Test
    void everyCommandHasItsScript() {
        Stream.concat(SamExtension.COMMANDS.stream(), SamExtension.TO_EDITOR.stream())
                .forEach(command -> assertNotNull(ScriptTexts.of(command.script())));
        List.of("settings_pane", "live_click", "edit_script").forEach(script -> assertNotNull(ScriptTexts.of(script)));
    }

    @Test
    void settingsTakeThePlaceOfTheScriptsOwn() {
        Map<String, Object> settings = Map.of(
                "model", "it's \\ $1", "minArea", 12.5, "fillHoles", 3, "keepPrompts", true, "outlineClass", "Tumor: Positive");
        for (String name : List.of("segment_for_project", "segment_selected")) {
            String text = ScriptTexts.withSettings(ScriptTexts.of(name), settings);
            assertTrue(text.contains("def model = 'it\\'s \\\\ $1'"), text);
            assertTrue(text.contains("def options = [minArea: 12.5, fillHoles: 3, simplify: 0"), text);
            assertTrue(text.contains("def keepPrompts = true"), text);
        }
        String project = ScriptTexts.withSettings(ScriptTexts.of("segment_for_project"), settings);
        assertTrue(project.contains("def outlineClass = 'Tumor: Positive'"), project);
        String click = ScriptTexts.withSettings(ScriptTexts.of("live_click"), settings);
        assertFalse(click.contains("it\\'s"), "the model of the project that is open is none of another's");
        assertTrue(click.contains("minArea: 12.5"), click);
    }

    /** Of the parts that clicks leave, and of what segmenting makes: it left out objects, took outlines out of a run, and gave found objects a class. */
    @Test
    void aSettingChangesOnlyScriptsInWhichItMeansTheSame() {
        Map<String, Object> settings = Map.of("minArea", 12.5, "outlineClass", "Tumor");
        for (String name : List.of("everything_in_selected", "everything_for_project", "like_selected", "like_for_project")) {
            assertEquals(ScriptTexts.of(name), ScriptTexts.withSettings(ScriptTexts.of(name), settings), name);
        }
        String refine = ScriptTexts.withSettings(ScriptTexts.of("refine_for_project"), settings);
        assertEquals(1, refine.split("12\\.5", -1).length - 1, refine);
        assertTrue(refine.contains("[clean: 0.02, minArea: 12.5"), refine);
    }

    @Test
    void theScaleAndTheKindOfObjectsAreSettings() {
        Map<String, Object> settings = Map.of("downsample", 0.0, "mpp", 0.5, "asAnnotations", true);
        for (SamExtension.Command command : SamExtension.TO_EDITOR) {
            String text = ScriptTexts.withSettings(ScriptTexts.of(command.script()), settings);
            assertTrue(text.contains(", downsample: 0.0, mpp: 0.5"), text);
        }
        for (String name : List.of("everything_in_selected", "everything_for_project", "like_selected", "like_for_project")) {
            String text = ScriptTexts.withSettings(ScriptTexts.of(name), settings);
            assertTrue(text.contains("def asAnnotations = true"), text);
        }
    }

    /** Both were written, and every script and every click failed with "give downsample or mpp, not both". */
    @Test
    void ofTwoScalesTheDownsampleCounts() {
        Map<String, Object> both = Map.of("downsample", 2.0, "mpp", 0.5);
        for (SamExtension.Command command : SamExtension.TO_EDITOR) {
            String text = ScriptTexts.withSettings(ScriptTexts.of(command.script()), both);
            assertTrue(text.contains(", downsample: 2.0, mpp: 0"), text);
            assertFalse(text.contains("mpp: 0.5"), text);
        }
    }

    @Test
    void aStepDoesAgainWhatAScriptDid() {
        Map<String, Object> settings = new LinkedHashMap<>();
        settings.put("model", "it's");
        settings.put("minObjectArea", 12.5);
        settings.put("effort", "fast");
        settings.put("asAnnotations", true);
        assertEquals(
                "evaluate(io.github.qupathsam.extension.ScriptTexts.alone('everything_in_selected', "
                        + "[model: 'it\\'s', minObjectArea: 12.5, effort: 'fast', asAnnotations: true], getCoreClasses()))",
                ScriptTexts.step("everything_in_selected", settings));
        assertTrue(ScriptTexts.step("x", Map.of()).contains("'x', [:], "));
        String text = ScriptTexts.alone("everything_in_selected", settings, List.of(Path.class, Map.Entry.class));
        assertTrue(text.contains("\nimport java.nio.file.Path\nimport java.util.Map.Entry\n"), text);
        assertTrue(text.contains("def options = [minObjectArea: 12.5, maxObjectArea: 0"), text);
        assertTrue(text.contains("effort: 'fast'"), text);
        assertTrue(text.contains("def asAnnotations = true"), text);
        String added = ScriptTexts.alone("everything_in_selected", Map.of("spacing", 12), List.of());
        assertTrue(added.contains("def options = [spacing: 12, minObjectArea: 0"), added);
        String project = ScriptTexts.alone("everything_for_project", Map.of("regionClasses", List.of("A", "B")), List.of());
        assertTrue(project.contains("def regionClasses = ['A', 'B']"), project);
    }

    @Test
    void withoutSettingsNothingChanges() {
        String text = ScriptTexts.of("segment_selected");
        assertEquals(text, ScriptTexts.withSettings(text, Map.of("nosuch", 1)));
        assertFalse(text.isEmpty());
        String window = "def model = new ComboBox()\n";
        assertEquals(window, ScriptTexts.withSettings(window, Map.of("model", "x")), "that is no setting");
    }

    /** On a jar that does not say its version QuPath shows -1.-1.-1. */
    @Test
    void theExtensionIsFoundAndTheVersionIsThatOfThePom() throws Exception {
        QuPathExtension found = ServiceLoader.load(QuPathExtension.class).findFirst().orElseThrow();
        assertEquals("SAM", found.getName());
        String pom = Files.readString(Path.of(System.getProperty("repository"), "groovy", "client", "pom.xml"));
        assertTrue(pom.contains("<version>" + ScriptTexts.version() + "</version>"), ScriptTexts.version());
    }
}
