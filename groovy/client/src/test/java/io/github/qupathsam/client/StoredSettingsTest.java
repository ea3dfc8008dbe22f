package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What the dialog Server... shows and saves. */
class StoredSettingsTest {
    private static final String OF_THE_LAB = "# from the lab's wiki\nhost=gpu1\nport = 7\ntls=true\nca=C:/lab/ca.pem\ntoken=of-the-lab\n";

    @TempDir
    Path home;

    private Path file;

    @BeforeEach
    void makeFolder() throws Exception {
        file = Files.createDirectories(home.resolve(".qupath-sam")).resolve("client.properties");
    }

    private StoredSettings read(Map<String, String> environment) {
        return StoredSettings.read(name -> name.equals("user.home") ? home.toString() : null, environment::get);
    }

    private Settings load() {
        return Settings.load(Map.of(), name -> name.equals("user.home") ? home.toString() : null, name -> null);
    }

    private List<String> files() throws Exception {
        try (var files = Files.list(file.getParent())) {
            return files.map(each -> each.getFileName().toString()).sorted().toList();
        }
    }

    @Test
    void whatIsSavedIsLoaded() throws Exception {
        assertEquals("", read(Map.of()).save(Map.of("host", "gpu1", "port", 7, "tls", true, "token", "a.b", "ca", "C:\\lab\\ü ca.pem")));
        assertEquals("gpu1:7", load().address());
        assertEquals("a.b", load().token());
        assertEquals("C:\\lab\\ü ca.pem", load().ca());
        assertEquals(List.of("client.properties"), files());
    }

    /** On 0.1.0 each OK wrote all of the file. */
    @Test
    void whatIsNotChangedStaysWithItsComments() throws Exception {
        Files.writeString(file, OF_THE_LAB);
        read(Map.of()).save(Map.of("model", "sam_vit_b", "host", "gpu1", "token", "of-the-lab"));
        assertEquals(OF_THE_LAB + "model=sam_vit_b\n", Files.readString(file));
        read(Map.of()).save(Map.of("port", 50051, "model", ""));
        assertEquals(OF_THE_LAB.replace("port = 7\n", ""), Files.readString(file));
    }

    @Test
    void whatCannotBeIsNotSaved() throws Exception {
        Files.writeString(file, OF_THE_LAB);
        StoredSettings stored = read(Map.of());
        assertThrows(IllegalArgumentException.class, () -> stored.save(Map.of("port", "http")));
        assertThrows(IllegalArgumentException.class, () -> stored.save(Map.of("tls", false, "ca", "")), "the token would travel unencrypted");
        assertThrows(IllegalArgumentException.class, () -> stored.save(Map.of("prot", "1")));
        assertEquals(OF_THE_LAB, Files.readString(file));
    }

    /** On 0.1.0 the dialog showed the defaults in place of such settings, and OK wrote them. */
    @Test
    void settingsThatCannotBeAreShownAsTheyAre() throws Exception {
        Files.writeString(file, OF_THE_LAB.replace("port = 7", "port=http"));
        StoredSettings stored = read(Map.of());
        assertEquals("gpu1:http", stored.address());
        assertTrue(stored.fault().startsWith("port must be"), stored.fault());
        assertThrows(IllegalArgumentException.class, () -> stored.save(Map.of("model", "m")));
        stored.save(Map.of("port", "8"));
        assertEquals(OF_THE_LAB.replace("port = 7", "port=8"), Files.readString(file));
    }

    @ParameterizedTest
    @ValueSource(strings = {"ca=C:\\users\\me\\ca.pem\n", "prot=7\n"})
    void aFileThatCannotBeUsedIsKeptBesideTheNewOne(String line) throws Exception {
        String broken = "host=gpu1\ntls=true\ntoken=of-the-lab\n" + line;
        Files.writeString(file, broken);
        var failure = assertThrows(IllegalArgumentException.class, this::load);
        StoredSettings stored = read(Map.of());
        assertEquals(failure.getMessage(), stored.fault());
        assertEquals("gpu1:50051", stored.address());
        String told = stored.save(Map.of());
        assertTrue(told.contains("client.properties.broken"), told);
        assertEquals(broken, Files.readString(file.resolveSibling("client.properties.broken")));
        assertEquals("gpu1:50051", load().address());
        assertEquals("of-the-lab", load().token());
        assertEquals(line.startsWith("ca") ? "C:\\users\\me\\ca.pem" : "", load().ca());
        Files.writeString(file, broken);
        read(Map.of()).save(Map.of("port", 8));
        assertEquals(List.of("client.properties", "client.properties.broken", "client.properties.broken-2"), files());
    }

    @Test
    void aFileOfAnotherEncodingIsReadAsFarAsItGoes() throws Exception {
        Files.write(file, "host=gpu1\nca=C:/M\u00fcller/ca.pem\n".getBytes(StandardCharsets.ISO_8859_1));
        assertTrue(assertThrows(IllegalArgumentException.class, this::load).getMessage().contains("UTF-8"));
        read(Map.of()).save(Map.of());
        assertEquals("C:/M\u00fcller/ca.pem", load().ca());
    }

    @Test
    void whatGoesBeforeTheFileIsSaid() throws Exception {
        Files.writeString(file, OF_THE_LAB);
        StoredSettings stored = read(Map.of("QUPATH_SAM_PORT", "9"));
        assertEquals("gpu1:9", stored.address());
        assertEquals("", stored.save(Map.of("port", 9, "host", "gpu2")));
        assertFalse(Files.readString(file).contains("9"), "it is set elsewhere");
        String told = stored.save(Map.of("port", 10));
        assertTrue(told.contains("the environment variable QUPATH_SAM_PORT goes before"), told);
    }

    @ParameterizedTest
    @ValueSource(strings = {"host=a\\\n  b\nport=1\n", "  host : x\r\nport=1\r\n", "host\nport=1", "host=a\nport=1\nhost=b\n"})
    void aLineIsReplacedHoweverItIsWritten(String text) {
        String changed = PropertiesFile.changed(text, Map.of("host", "new"));
        assertTrue(changed.equals("host=new\nport=1\n"), changed);
    }

    @Test
    void aCommentIsNoLine() {
        assertEquals("#host=a\\\nhost=b\n", PropertiesFile.changed("#host=a\\\n", Map.of("host", "b")));
    }
}
