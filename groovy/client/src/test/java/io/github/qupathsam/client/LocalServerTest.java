package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** A server of one's own, started from QuPath. */
class LocalServerTest {
    private static final List<String> FAKE = List.of("--model", "fake", "--device", "cpu", "--threads", "1");

    @AfterEach
    void stop() {
        LocalServer.stop();
    }

    @Test
    void itIsStartedUsedAndStopped() throws Exception {
        CompletableFuture<Integer> ready = new CompletableFuture<>();
        LocalServer server = LocalServer.start(RealServer.python() + " -m qupath_sam", FAKE, ready::complete);
        int port = ready.get(300, TimeUnit.SECONDS);
        assertTrue(port > 0, server.log());
        assertSame(server, LocalServer.running());
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
        LocalServer.stop();
        assertNull(LocalServer.running());
        assertNull(System.getProperty("qupath.sam.token"));
    }

    @Test
    void aServerThatEndsBeforeItListensIsTold() throws Exception {
        CompletableFuture<Integer> ready = new CompletableFuture<>();
        LocalServer server =
                LocalServer.start(RealServer.python() + " -m qupath_sam", List.of("--model", "nosuch"), ready::complete);
        assertEquals(-1, ready.get(300, TimeUnit.SECONDS));
        assertTrue(server.log().contains("nosuch"), server.log());
    }

    @Test
    void withoutTheProgramTheRemedyIsSaid() {
        SamException failure =
                assertThrows(SamException.class, () -> LocalServer.start("no-such-program-here", List.of(), port -> {}));
        assertTrue(failure.getMessage().contains("pip install qupath-sam"), failure.getMessage());
    }
}
