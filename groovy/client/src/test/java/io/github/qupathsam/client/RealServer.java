package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/** The Python server as a process of its own. Its Python: QUPATH_SAM_PYTHON, or the repository's .venv; else tests skip. */
final class RealServer implements AutoCloseable {
    private static final Path REPOSITORY = Path.of(System.getProperty("repository")).toAbsolutePath().normalize();
    private static final String LISTENING = "listening on 127.0.0.1:";

    private final Process process;
    private final int port;
    private final StringBuilder output = new StringBuilder();

    private RealServer(Process process) throws Exception {
        this.process = process;
        CompletableFuture<Integer> listening = new CompletableFuture<>();
        Thread reader = new Thread(() -> read(listening), "server output");
        reader.setDaemon(true);
        reader.start();
        this.port = listening.get(300, TimeUnit.SECONDS);
    }

    private static RealServer plain;

    /** The one of all tests that only ask it something, with the fake model; it ends with this JVM. Do not close it. */
    static synchronized RealServer plain() throws Exception {
        if (plain == null) {
            plain = start();
            Runtime.getRuntime().addShutdownHook(new Thread(plain::close));
        }
        return plain;
    }

    /** One of a test's own, on a free port, with the fake model. */
    static RealServer start(String... options) throws Exception {
        return startWith("fake", 0, options);
    }

    static RealServer startWith(String model, int port, String... options) throws Exception {
        List<String> command = new ArrayList<>(
                List.of(python(), "-m", "qupath_sam", "serve", "--port", String.valueOf(port), "--device", "cpu"));
        command.addAll(List.of("--threads", "1", "--model", model));
        command.addAll(List.of(options));
        return new RealServer(builder(command).redirectErrorStream(true).start());
    }

    static String python() {
        String named = System.getenv("QUPATH_SAM_PYTHON");
        String found = named != null
                ? named
                : Stream.of(".venv/bin/python", ".venv/Scripts/python.exe")
                        .map(REPOSITORY::resolve)
                        .filter(Files::isRegularFile)
                        .map(Path::toString)
                        .findFirst()
                        .orElse(null);
        assumeTrue(found != null, "no Python with qupath_sam: set QUPATH_SAM_PYTHON");
        return found;
    }

    static ProcessBuilder builder(List<String> command) {
        ProcessBuilder builder = new ProcessBuilder(command).directory(REPOSITORY.toFile());
        builder.environment().putAll(Map.of("OMP_NUM_THREADS", "1", "PYTHONUNBUFFERED", "1"));
        return builder;
    }

    /** Another command of qupath-sam, to its end. */
    static void run(String... arguments) throws Exception {
        List<String> command = new ArrayList<>(List.of(python(), "-m", "qupath_sam"));
        command.addAll(List.of(arguments));
        Process process = builder(command).redirectErrorStream(true).start();
        String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        if (process.waitFor() != 0) {
            throw new IllegalStateException(said);
        }
    }

    int port() {
        return port;
    }

    Settings settings() {
        return Settings.load(Map.of("port", port, "host", "127.0.0.1", "timeout", 180, "patience", 30));
    }

    SamClient client() {
        return SamClient.connect(settings());
    }

    /** As a crash ends it. */
    void kill() throws InterruptedException {
        process.destroyForcibly().waitFor();
    }

    @Override
    public void close() {
        process.destroy();
        try {
            if (!process.waitFor(20, TimeUnit.SECONDS)) {
                process.destroyForcibly();
            }
        } catch (InterruptedException stopped) {
            process.destroyForcibly();
            Thread.currentThread().interrupt();
        }
    }

    private void read(CompletableFuture<Integer> listening) {
        try (var lines = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                output.append(line).append('\n');
                if (line.startsWith(LISTENING)) {
                    listening.complete(Integer.parseInt(line.substring(LISTENING.length()).split("[^0-9]", 2)[0]));
                }
            }
        } catch (IOException ended) {
            output.append(ended);
        }
        listening.completeExceptionally(new IllegalStateException("the server ended:\n" + output));
    }
}
