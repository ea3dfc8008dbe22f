package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The real server with a certificate and a token. */
class LockedServerTest {
    private static final String TOKEN = "a-token-for-tests~0123456789";
    private static final Path CERTIFICATES =
            Path.of(System.getProperty("repository")).toAbsolutePath().normalize().resolve("tests/certificates");

    @Test
    void itLetsInWhoTrustsItAndHasTheToken(@TempDir Path folder) throws Exception {
        Path token = Files.writeString(folder.resolve("token"), TOKEN + "\n");
        String certificate = CERTIFICATES.resolve("localhost.pem").toString();
        try (RealServer server = RealServer.start(
                "--tls-certificate", certificate,
                "--tls-key", CERTIFICATES.resolve("localhost.key").toString(),
                "--token-file", token.toString())) {
            Map<String, Object> settings = new HashMap<>(Map.of("port", server.port(), "timeout", 60, "patience", 1));
            settings.putAll(Map.of("tls", true, "ca", certificate, "token", TOKEN));
            SamImage image = Pictures.onDisk(folder);
            Prompts prompts = Prompts.box(292, 192, 468, 328);
            try (SamClient client = SamClient.connect(settings);
                    LiveSession live = client.live()) {
                assertEquals("fake", client.capabilities().defaultModel());
                live.predict(image, prompts, PredictOptions.none(), "click").get(60, TimeUnit.SECONDS);
            }
            settings.put("token", TOKEN + "x");
            try (SamClient stranger = SamClient.connect(settings);
                    LiveSession live = stranger.live()) {
                SamException refused = assertThrows(SamException.class, stranger::capabilities);
                assertEquals(FailureReason.UNAUTHENTICATED, refused.reason());
                assertTrue(refused.getMessage().contains("client.properties"), refused.getMessage());
                ExecutionException streamed = assertThrows(
                        ExecutionException.class,
                        () -> live.predict(image, prompts, PredictOptions.none(), "click").get(60, TimeUnit.SECONDS));
                assertEquals(FailureReason.UNAUTHENTICATED, ((SamException) streamed.getCause()).reason());
            }
        }
    }
}
