package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A server of one's own, started from QuPath. */
class LocalServerTest {
    @TempDir
    Path folder;

    private static final List<String> FAKE = List.of("--model", "fake", "--device", "cpu", "--threads", "1");

    @AfterEach
    void stop() {
        LocalServer.stop();
    }

    private final CompletableFuture<Integer> ready = new CompletableFuture<>();
    private final CompletableFuture<Integer> ended = new CompletableFuture<>();

    private LocalServer start(String program, List<String> options) {
        return LocalServer.start(program, options, port -> (port > 0 ? ready : ended).complete(port));
    }

    /** A program that does no more than to say that it listens. */
    private String listening(String more) throws Exception {
        Path program = Files.writeString(folder.resolve("a program.sh"),
                "#!/bin/sh\n" + more + "\necho 'listening on 127.0.0.1:7'\nwhile true; do sleep 0.2; done\n");
        assumeTrue(program.toFile().setExecutable(true) && new File("/bin/sh").canExecute());
        return program.toString();
    }

    /** On 0.1.0 no person read that it had ended, and the reason was that of a server that a person starts. */
    @Test
    void itIsStartedUsedAndItsEndIsSaid() throws Exception {
        List<ProcessHandle> others = ProcessHandle.current().descendants().toList(); // such as the server of the other tests
        LocalServer server = start(RealServer.python() + " -m qupath_sam", FAKE);
        List<ProcessHandle> processes =
                ProcessHandle.current().descendants().filter(each -> !others.contains(each)).toList();
        Path tokenFile = processes.stream().flatMap(each -> Stream.of(each.info().arguments().orElse(new String[0])))
                .filter(each -> each.endsWith(".token")).map(Path::of).findFirst().orElseThrow();
        int port = (int) CompletableFuture.anyOf(ready, ended).get(300, TimeUnit.SECONDS);
        assertTrue(port > 0, server.log());
        assertFalse(Files.exists(tokenFile), "it has been read");
        assertSame(server, LocalServer.running());
        assertSame(server, LocalServer.inUse());
        assertEquals(port, server.port());
        try (SamClient client = SamClient.connect()) {
            assertTrue(client.description().contains("127.0.0.1:" + port));
        }
        try (SamClient stranger = SamClient.connect(Map.of("token", ""))) {
            assertEquals(
                    FailureReason.UNAUTHENTICATED,
                    assertThrows(SamException.class, stranger::models).reason(),
                    "its token is its own");
        }
        assertFalse(ended.isDone());
        processes.forEach(ProcessHandle::destroyForcibly);
        assertEquals(-1, ended.get(60, TimeUnit.SECONDS));
        assertNull(LocalServer.running());
        assertSame(server, LocalServer.inUse(), "a person chooses where to go next");
        try (SamClient client = SamClient.connect(Map.of("patience", 1))) {
            String said = assertThrows(SamException.class, client::models).getMessage();
            assertTrue(said.contains("has ended; start it again in Extensions > SAM > Server..."), said);
        }
    }

    /** On 0.1.0 the properties of this process were set, and what was set there before was gone with the server. */
    @Test
    void whatAPersonHasSetStaysBesideIt() throws Exception {
        Map<String, String> set = Map.of("host", "gpu1", "certificate", "mine.pem", "key", "mine.key", "token", "of-the-lab", "model", "m");
        set.forEach((name, value) -> System.setProperty("qupath.sam." + name, value));
        try {
            start(listening(""), List.of());
            assertEquals("gpu1:50051", Settings.load().address(), "it does not listen yet");
            ready.get(60, TimeUnit.SECONDS);
            assertEquals("127.0.0.1:7", Settings.load().address());
            assertFalse(Settings.load().tls(), "it wants to see no certificate");
            assertEquals("m", Settings.load().model());
            assertEquals("gpu1", StoredSettings.read().values().get("host"));
            assertEquals("of-the-lab", Settings.loadStored(Map.of()).token());
            LocalServer.stop();
            assertEquals("gpu1:50051", Settings.load().address());
            assertEquals("of-the-lab", Settings.load().token());
            assertFalse(ended.isDone(), "it was asked to end");
        } finally {
            set.keySet().forEach(name -> System.clearProperty("qupath.sam." + name));
        }
    }

    /** On 0.1.0 QuPath's window stood still until the server had ended, up to ten seconds. */
    @Test
    void stoppingWaitsForNothing() throws Exception {
        LocalServer server = start(listening("trap '' TERM"), List.of());
        ready.get(60, TimeUnit.SECONDS);
        assertTimeoutPreemptively(Duration.ofSeconds(5), LocalServer::stop);
        assertNull(LocalServer.inUse());
        assertTrue(server.isAlive(), "it ends in the background, or the test shows nothing");
        for (int wait = 0; server.isAlive() && wait < 300; wait++) {
            Thread.sleep(100);
        }
        assertFalse(server.isAlive());
    }

    @Test
    void whereAnotherCannotBeStartedTheFirstStays() throws Exception {
        LocalServer server = start(listening(""), List.of());
        ready.get(60, TimeUnit.SECONDS);
        assertThrows(SamException.class, () -> LocalServer.start("no-such-program-here", List.of(), port -> {}));
        assertSame(server, LocalServer.inUse());
        assertTrue(server.isAlive());
    }

    @Test
    void aServerThatEndsBeforeItListensIsTold() throws Exception {
        LocalServer server = start(RealServer.python() + " -m qupath_sam", List.of("--model", "nosuch"));
        assertEquals(-1, ended.get(300, TimeUnit.SECONDS));
        assertTrue(server.log().contains("nosuch"), server.log());
        assertEquals(Map.of(), LocalServer.address());
    }

    @Test
    void programsAreWrittenInManyWays() throws Exception {
        Path program = Files.createDirectories(folder.resolve("Müller lab/bin")).resolve("qupath-sam");
        assumeTrue(program.toFile().createNewFile() && program.toFile().setExecutable(true) && File.separatorChar == '/');
        assertEquals(List.of(program.toString()), LocalServer.command(program.toString()));
        assertEquals(List.of(program.toString()), LocalServer.command(" \"" + program + "\" "), "as Windows copies a path");
        assertEquals(List.of(program.toString()), LocalServer.command(folder.resolve("Müller lab").toString()));
        assertEquals(List.of("python", "-m", "qupath_sam"), LocalServer.command("python  -m qupath_sam"));
        var failure = assertThrows(SamException.class, () -> LocalServer.command(folder.toString()));
        assertTrue(failure.getMessage().contains("no program qupath-sam in " + folder), failure.getMessage());
    }

    @Test
    void withoutTheProgramTheRemedyIsSaid() {
        SamException failure =
                assertThrows(SamException.class, () -> LocalServer.start("no-such-program-here", List.of(), port -> {}));
        assertTrue(failure.getMessage().contains("pip install qupath-sam"), failure.getMessage());
        assertTrue(failure.getMessage().startsWith("no-such-program-here "), failure.getMessage());
    }
}
