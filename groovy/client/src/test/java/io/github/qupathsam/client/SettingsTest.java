package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SettingsTest {
    @TempDir
    Path folder;

    private Settings load(Map<String, ?> overrides, Map<String, String> properties, Map<String, String> environment) {
        return Settings.load(
                overrides, name -> name.equals("user.home") ? folder.toString() : properties.get(name), environment::get);
    }

    @Test
    void withoutAnyTheServerIsOnThisMachine() {
        Settings settings = load(Map.of(), Map.of(), Map.of());
        assertEquals("127.0.0.1:50051", settings.address());
        assertFalse(settings.tls());
        assertEquals(Duration.ofSeconds(120), settings.timeout());
    }

    @Test
    void theNearerPlaceWins() throws Exception {
        Files.createDirectories(folder.resolve(".qupath-sam"));
        Files.writeString(folder.resolve(".qupath-sam/client.properties"), "host=file\nport=1\nmodel=file\ntoken=file\ntls=true\n");
        Settings settings = load(
                Map.of("host", "given"),
                Map.of("qupath.sam.host", "property", "qupath.sam.port", "2"),
                Map.of("QUPATH_SAM_HOST", "environment", "QUPATH_SAM_PORT", "3", "QUPATH_SAM_MODEL", "environment"));
        assertEquals("given", settings.host());
        assertEquals(2, settings.port());
        assertEquals("environment", settings.model());
        assertEquals("file", settings.token());
    }

    @Test
    void aNamedFileMustBeThere() {
        var failure = assertThrows(
                IllegalArgumentException.class,
                () -> load(Map.of(), Map.of("qupath.sam.settings", folder.resolve("none").toString()), Map.of()));
        assertTrue(failure.getMessage().contains("qupath.sam.settings"), failure.getMessage());
    }

    @ParameterizedTest
    @CsvSource({"port,0", "port,65536", "port,116314", "port,-1", "port,50051.5", "port,http", "port,''", "port,99999999999",
        "host,''", "host,http://127.0.0.1", "host,gpu1:50052", "host,http://127.0.0.1:50051", "host,gpu1/", "host,a b", "tls,perhaps", "timeout,0", "timeout,-3", "patience,soon"})
    void nonsenseIsNamed(String name, String value) {
        var failure = assertThrows(IllegalArgumentException.class, () -> load(Map.of(name, value), Map.of(), Map.of()));
        assertTrue(failure.getMessage().startsWith(name), failure.getMessage());
    }

    @ParameterizedTest
    @ValueSource(strings = {"gpu1", "gpu_1.lab.example", "127.0.0.1", "::1", "[::1]", "fe80::1%eth0", " gpu1 "})
    void hostsAreTaken(String host) {
        assertEquals(host.strip(), load(Map.of("host", host), Map.of(), Map.of()).host());
    }

    @Test
    void anAddressWithItsPortSaysWhereThePortBelongs() {
        var failure = assertThrows(
                IllegalArgumentException.class, () -> load(Map.of("host", "gpu1:50052"), Map.of(), Map.of()));
        assertTrue(failure.getMessage().contains("host=gpu1, port=50052"), failure.getMessage());
    }

    @Test
    void aFileMayBeginWithAByteOrderMark() throws Exception {
        Files.createDirectories(folder.resolve(".qupath-sam"));
        Files.writeString(folder.resolve(".qupath-sam/client.properties"), "\uFEFFhost=gpu1\nport=7\n");
        assertEquals("gpu1:7", load(Map.of(), Map.of(), Map.of()).address());
        Files.writeString(folder.resolve(".qupath-sam/client.properties"), "");
        assertEquals("127.0.0.1:50051", load(Map.of(), Map.of(), Map.of()).address());
    }

    @Test
    void aMisspeltNameListsTheKnownOnes() {
        var failure = assertThrows(
                IllegalArgumentException.class, () -> load(Map.of("prot", "1"), Map.of(), Map.of()));
        assertTrue(failure.getMessage().contains("prot") && failure.getMessage().contains("port"), failure.getMessage());
    }

    @Test
    void theTokenIsNeverPrinted() {
        assertFalse(load(Map.of("token", "secret"), Map.of(), Map.of()).toString().contains("secret"));
        var failure = assertThrows(
                IllegalArgumentException.class, () -> load(Map.of("token", "sec ret"), Map.of(), Map.of()));
        assertFalse(failure.getMessage().contains("ret"), failure.getMessage());
    }

    @Test
    void certificatesToTrustMeanTls() {
        assertTrue(load(Map.of("ca", "server.pem"), Map.of(), Map.of()).tls());
    }

    @Test
    void theTokenDoesNotTravelUnencryptedUnawares() {
        Map<String, Object> remote = Map.of("host", "gpu1", "token", "secret");
        var failure = assertThrows(IllegalArgumentException.class, () -> load(remote, Map.of(), Map.of()));
        assertTrue(failure.getMessage().contains("gpu1") && failure.getMessage().contains("tls"), failure.getMessage());
        assertThrows(
                IllegalArgumentException.class,
                () -> load(Map.of("host", "127.example.org", "token", "secret"), Map.of(), Map.of()));
        assertEquals("secret", load(remote, Map.of(), Map.of("QUPATH_SAM_TOKEN_WITHOUT_TLS", "yes")).token());
        assertEquals("secret", load(remote, Map.of("qupath.sam.tls", "true"), Map.of()).token());
        assertEquals("secret", load(Map.of("host", "127.0.0.1", "token", "secret"), Map.of(), Map.of()).token());
    }
}
