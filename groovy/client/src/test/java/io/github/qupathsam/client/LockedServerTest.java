package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The real server with a certificate and a token: who gets in, and what all others are told, by call and by stream. */
class LockedServerTest {
    private static final String TOKEN = "a-token-for-tests~0123456789";
    private static final String LOCALHOST = certificate("localhost.pem");
    private static final String ELSEWHERE = certificate("elsewhere.pem");
    private static final Prompts PROMPTS = Prompts.box(292, 192, 468, 328);

    @TempDir
    static Path folder;

    private static RealServer server;
    private static SamImage image;

    @BeforeAll
    static void start() throws Exception {
        image = Pictures.onDisk(folder);
        Path token = Files.writeString(folder.resolve("token"), TOKEN + "\n");
        server = locked(LOCALHOST, "--token-file", token.toString());
    }

    @AfterAll
    static void stop() {
        if (server != null) {
            server.close();
        }
    }

    private static String certificate(String name) {
        return Path.of(System.getProperty("repository"), "tests", "certificates", name)
                .toAbsolutePath()
                .normalize()
                .toString();
    }

    private static RealServer locked(String certificate, String... options) throws Exception {
        List<String> tls = List.of("--tls-certificate", certificate, "--tls-key", certificate.replace(".pem", ".key"));
        return RealServer.start(Stream.concat(tls.stream(), Stream.of(options)).toArray(String[]::new));
    }

    /** Trusts the server and has its token, but for what is given here. */
    private static Map<String, Object> settings(Map<String, ?> changes) {
        Map<String, Object> settings = new HashMap<>(Map.of("port", server.port(), "timeout", 180, "patience", 1));
        settings.putAll(Map.of("tls", true, "ca", LOCALHOST, "token", TOKEN));
        settings.putAll(changes);
        return settings;
    }

    /** Refused alike by call and by stream; the message, which ends in what to do. */
    private static String refused(FailureReason reason, Map<String, ?> changes) {
        try (SamClient client = SamClient.connect(settings(changes));
                LiveSession live = client.live()) {
            SamException called = assertThrows(SamException.class, client::capabilities);
            ExecutionException streamed = assertThrows(
                    ExecutionException.class,
                    () -> live.predict(image, PROMPTS, PredictOptions.none(), "click").get(180, TimeUnit.SECONDS));
            assertEquals(reason, called.reason(), called.getMessage());
            assertEquals(reason, SamException.of(streamed).reason());
            assertEquals(called.getMessage(), streamed.getCause().getMessage());
            return called.getMessage();
        }
    }

    @Test
    void whoTrustsItAndHasTheTokenIsLetIn() throws Exception {
        try (SamClient client = SamClient.connect(settings(Map.of()));
                LiveSession live = client.live()) {
            SamPrediction called = client.predict(image, PROMPTS, PredictOptions.none());
            SamPrediction streamed =
                    live.predict(image, PROMPTS, PredictOptions.none(), "click").get(180, TimeUnit.SECONDS);
            assertArrayEquals(called.single().best().wkb(), streamed.single().best().wkb());
        }
    }

    @Test
    void anotherTokenIsToldWhereToSetIt() {
        assertTrue(refused(FailureReason.UNAUTHENTICATED, Map.of("token", TOKEN + "x")).contains("client.properties"));
        assertTrue(refused(FailureReason.UNAUTHENTICATED, Map.of("token", "")).contains("client.properties"));
    }

    /** A stream waits, as for a server that is being started behind a tunnel, and says why. */
    @Test
    void aPlainClientIsToldOfTls() throws Exception {
        try (SamClient client = SamClient.connect(settings(Map.of("tls", false, "ca", "")));
                LiveSession live = client.live()) {
            SamException called = assertThrows(SamException.class, client::capabilities);
            assertEquals(FailureReason.UNREACHABLE, called.reason(), called.getMessage());
            assertTrue(called.getMessage().endsWith("where it speaks TLS, set tls and ca"), called.getMessage());
            CompletableFuture<SamPrediction> click = live.predict(image, PROMPTS, PredictOptions.none(), "click");
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(120);
            while (!live.trouble().contains(called.getMessage()) && System.nanoTime() < end) {
                Thread.sleep(50);
            }
            assertTrue(live.trouble().startsWith(called.getMessage()), live.trouble());
            assertFalse(click.isDone());
        }
    }

    @Test
    void aServerThatNobodyTrustsIsNamed() {
        String told = refused(FailureReason.BAD_CERTIFICATE, Map.of("ca", ELSEWHERE));
        assertTrue(told.contains("127.0.0.1:" + server.port()) && told.contains("set ca"), told);
        refused(FailureReason.BAD_CERTIFICATE, Map.of("ca", ""));
    }

    @Test
    void aServerOfAnotherNameIsNamed() throws Exception {
        try (RealServer other = locked(ELSEWHERE)) {
            String told = refused(FailureReason.BAD_CERTIFICATE, Map.of("port", other.port(), "ca", ELSEWHERE));
            assertTrue(told.contains("another name") && told.contains("set host"), told);
        }
    }

    @Test
    void aServerWithoutTlsIsNamed() throws Exception {
        String told = refused(FailureReason.BAD_CERTIFICATE, Map.of("port", RealServer.plain().port()));
        assertTrue(told.contains("does not speak TLS") && told.contains("set tls to false"), told);
    }

    @Test
    void aServerThatAsksForCertificatesLetsInWhoShowsOne() throws Exception {
        Path certificates = folder.resolve("certificates");
        RealServer.run(
                "certs", "create", "localhost", "127.0.0.1", "--client", "Anna", "--folder", certificates.toString());
        String ca = certificates.resolve("ca.pem").toString();
        String[] options = {
            "--tls-certificate", certificates.resolve("server.pem").toString(),
            "--tls-key", certificates.resolve("server.key").toString(),
            "--tls-client-ca", ca
        };
        try (RealServer asking = RealServer.start(options)) {
            Map<String, Object> shown = new HashMap<>(Map.of("port", asking.port(), "ca", ca, "token", ""));
            try (SamClient client = SamClient.connect(settings(shown))) {
                // Whether the refusal can be read before the connection ends is up to the network: both say what to do.
                SamException told = assertThrows(SamException.class, client::capabilities);
                assertTrue(told.getMessage().contains("set certificate and key"), told.getMessage());
            }
            shown.put("certificate", certificates.resolve("Anna.pem").toString());
            shown.put("key", certificates.resolve("Anna.key").toString());
            try (SamClient client = SamClient.connect(settings(shown))) {
                assertEquals("fake", client.capabilities().defaultModel());
            }
        }
    }
}
