package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.qupathsam.v1.ErrorInfo;
import io.github.qupathsam.v1.ErrorReason;
import io.github.qupathsam.v1.GetCapabilitiesRequest;
import io.github.qupathsam.v1.GetCapabilitiesResponse;
import io.github.qupathsam.v1.SegmentationServiceGrpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerCredentials;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.TlsServerCredentials;
import io.grpc.okhttp.OkHttpServerBuilder;
import io.grpc.stub.StreamObserver;
import java.io.File;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Key;
import java.security.KeyStore;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What happens on the wire, against a server that misbehaves on purpose. */
class TransportTest {
    private Server server;
    private ErrorReason refusal = ErrorReason.ERROR_REASON_BUSY;

    @TempDir
    Path folder;

    @AfterEach
    void stop() {
        if (server != null) {
            server.shutdownNow();
        }
    }

    private int serve(ServerCredentials credentials, GetCapabilitiesResponse answer, int refusals, String token)
            throws Exception {
        AtomicInteger left = new AtomicInteger(refusals);
        var service = new SegmentationServiceGrpc.SegmentationServiceImplBase() {
            @Override
            public void getCapabilities(GetCapabilitiesRequest request, StreamObserver<GetCapabilitiesResponse> out) {
                if (left.getAndDecrement() > 0) {
                    Metadata trailers = new Metadata();
                    ErrorInfo busy = ErrorInfo.newBuilder()
                            .setReason(refusal)
                            .setMessage("too many calls; try again")
                            .build();
                    trailers.put(Failures.ERROR_INFO, busy.toByteArray());
                    out.onError(Status.UNAVAILABLE.asRuntimeException(trailers));
                    return;
                }
                out.onNext(answer);
                out.onCompleted();
            }
        };
        server = OkHttpServerBuilder.forPort(0, credentials)
                .addService(service)
                .intercept(new TokenCheck(token))
                .build()
                .start();
        return server.getPort();
    }

    private record TokenCheck(String token) implements ServerInterceptor {
        private static final Metadata.Key<String> KEY =
                Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

        @Override
        public <Q, A> ServerCall.Listener<Q> interceptCall(
                ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
            if (!token.isEmpty() && !("Bearer " + token).equals(headers.get(KEY))) {
                call.close(Status.UNAUTHENTICATED.withDescription("no or another token"), new Metadata());
                return new ServerCall.Listener<>() {};
            }
            return next.startCall(call, headers);
        }
    }

    private static GetCapabilitiesResponse version(int protocol) {
        return GetCapabilitiesResponse.newBuilder()
                .setServerVersion("9.9.9")
                .setProtocolVersion(protocol)
                .setDefaultModel("stub")
                .build();
    }

    /** gRPC printed a stack trace of its own beside our sentence. */
    @Test
    void aHostThatDoesNotExistIsOneSentence() {
        List<LogRecord> printed = new CopyOnWriteArrayList<>();
        Handler console = new Handler() {
            @Override
            public void publish(LogRecord entry) {
                printed.add(entry);
            }

            @Override
            public void flush() {}

            @Override
            public void close() {}
        };
        Logger root = Logger.getLogger("");
        root.addHandler(console);
        try (SamClient client = SamClient.connect(Settings.load(Map.of("host", "no-such-host.invalid", "patience", 0.2)))) {
            SamException failure = assertThrows(SamException.class, client::description);
            assertEquals(FailureReason.UNREACHABLE, failure.reason());
            assertTrue(failure.getMessage().contains("no-such-host.invalid"), failure.getMessage());
        } finally {
            root.removeHandler(console);
        }
        assertEquals(List.of(), printed.stream().map(LogRecord::getMessage).toList());
    }

    @Test
    void aServerThatLoadsItsModelIsWaitedForLongerThanOneThatIsNotThere() throws Exception {
        refusal = ErrorReason.ERROR_REASON_STARTING;
        // Six waits of 100 to 2000 ms, at least half of each: more than the 2 s that a silent server gets.
        int port = serve(InsecureServerCredentials.create(), version(1), 6, "");
        try (SamClient client = SamClient.connect(Map.of("host", "127.0.0.1", "port", port))) {
            assertEquals("stub", client.capabilities().defaultModel());
        }
    }

    private static FailureReason reason(Map<String, ?> settings) {
        try (SamClient client = SamClient.connect(settings)) {
            SamException failure = assertThrows(SamException.class, client::capabilities);
            assertTrue(failure.getMessage().contains(failure.reason().advice()), failure.getMessage());
            return failure.reason();
        }
    }

    @Test
    void nobodyThere() throws Exception {
        int port;
        try (ServerSocket socket = new ServerSocket(0)) {
            port = socket.getLocalPort();
        }
        assertEquals(FailureReason.UNREACHABLE, reason(Map.of("port", port)));
    }

    @Test
    void somebodyWhoSaysNothing() throws Exception {
        try (ServerSocket silent = new ServerSocket(0)) {
            assertEquals(FailureReason.UNREACHABLE, reason(Map.of("port", silent.getLocalPort(), "timeout", 1)));
        }
    }

    @Test
    void anotherProtocol() throws Exception {
        int port = serve(InsecureServerCredentials.create(), version(2), 0, "");
        assertEquals(FailureReason.WRONG_VERSION, reason(Map.of("port", port)));
    }

    @Test
    void aBusyServerIsAskedAgain() throws Exception {
        int port = serve(InsecureServerCredentials.create(), version(1), 3, "");
        try (SamClient client = SamClient.connect(Map.of("port", port))) {
            assertEquals("stub", client.capabilities().defaultModel());
        }
    }

    @Test
    void theTokenOpensTheDoor() throws Exception {
        int port = serve(InsecureServerCredentials.create(), version(1), 0, "sesame");
        assertEquals(FailureReason.UNAUTHENTICATED, reason(Map.of("port", port)));
        assertEquals(FailureReason.UNAUTHENTICATED, reason(Map.of("port", port, "token", "wrong")));
        try (SamClient client = SamClient.connect(Map.of("port", port, "token", "sesame"))) {
            assertEquals("9.9.9", client.capabilities().serverVersion());
        }
    }

    @Test
    void tlsWithTheServersOwnCertificate() throws Exception {
        File[] pem = certificate();
        int port = serve(TlsServerCredentials.create(pem[0], pem[1]), version(1), 0, "");
        Map<String, Object> tls = Map.of("host", "localhost", "port", port, "tls", true);
        assertEquals(FailureReason.BAD_CERTIFICATE, reason(tls));
        try (SamClient client = SamClient.connect(
                Map.of("host", "localhost", "port", port, "tls", true, "ca", pem[0].getPath()))) {
            assertEquals("stub", client.capabilities().defaultModel());
        }
    }

    @Test
    void aMissingCertificateFileIsNamed() {
        SamException failure =
                assertThrows(SamException.class, () -> SamClient.connect(Map.of("tls", true, "ca", "nowhere.pem")));
        assertEquals(FailureReason.BAD_CERTIFICATE, failure.reason());
        assertTrue(failure.getMessage().contains("nowhere.pem"));
    }

    /** A self-signed certificate for localhost, and its key, as PEM; made by the JDK's own keytool. */
    private File[] certificate() throws Exception {
        Path store = folder.resolve("store.p12");
        Path keytool = Path.of(System.getProperty("java.home"), "bin", "keytool");
        Process process = new ProcessBuilder(List.of(
                        keytool.toString(), "-genkeypair", "-alias", "a", "-keyalg", "EC", "-dname", "CN=localhost",
                        "-ext", "san=dns:localhost", "-storetype", "PKCS12", "-keystore", store.toString(),
                        "-storepass", "password", "-validity", "2"))
                .inheritIO()
                .start();
        assertEquals(0, process.waitFor());
        KeyStore keys = KeyStore.getInstance(store.toFile(), "password".toCharArray());
        Key key = keys.getKey("a", "password".toCharArray());
        File certificate = folder.resolve("cert.pem").toFile();
        File secret = folder.resolve("key.pem").toFile();
        Files.writeString(certificate.toPath(), pem("CERTIFICATE", keys.getCertificate("a").getEncoded()));
        Files.writeString(secret.toPath(), pem("PRIVATE KEY", key.getEncoded()));
        return new File[] {certificate, secret};
    }

    private static String pem(String kind, byte[] bytes) {
        String body = Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(bytes);
        return "-----BEGIN " + kind + "-----\n" + body + "\n-----END " + kind + "-----\n";
    }
}
