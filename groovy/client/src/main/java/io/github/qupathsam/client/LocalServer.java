package io.github.qupathsam.client;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A server on this machine, for this QuPath alone: on a free port, with a token of its own, ended with this process.
 *
 * <p>Once it listens, connections that are made afterwards go to it: it is put above all settings, as system properties.
 */
public final class LocalServer implements AutoCloseable {
    private static final String LISTENING = "listening on 127.0.0.1:";
    private static final String HOW_TO_INSTALL =
            "install it with `pip install qupath-sam` (or `pipx install qupath-sam`), or give the path of its program";
    private static final int MOST_LOG = 200_000;

    private static LocalServer running;

    private final Process process;
    private final Path tokenFile;
    private final StringBuilder log = new StringBuilder();
    private volatile int port;

    private LocalServer(Process process, Path tokenFile) {
        this.process = process;
        this.tokenFile = tokenFile;
    }

    /**
     * Starts one in place of an earlier one, and returns at once.
     *
     * @param program {@code qupath-sam} with or without its folder; or several words, as {@code python -m qupath_sam}
     * @param more further options of {@code serve}
     * @param ready gets, on a thread of its own, the port once it listens, or -1 where it ends before
     * @throws SamException where there is no such program
     */
    public static synchronized LocalServer start(String program, List<String> more, Consumer<Integer> ready) {
        stop();
        List<String> command = new ArrayList<>(List.of(program.strip().split("\\s+")));
        String given = program.strip();
        if (new File(given).isFile()) {
            command = new ArrayList<>(List.of(given)); // a path with blanks in it
        } else if (command.get(0).equals("qupath-sam")) {
            command.set(0, found());
        }
        try {
            String token = newToken();
            Path tokenFile = Files.createTempFile("qupath-sam", ".token"); // readable by its owner only
            Files.writeString(tokenFile, token + "\n");
            command.addAll(List.of("serve", "--port", "0", "--token-file", tokenFile.toString()));
            command.addAll(more);
            ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
            builder.environment().put("PYTHONUNBUFFERED", "1");
            LocalServer server = new LocalServer(builder.start(), tokenFile);
            Runtime.getRuntime().addShutdownHook(new Thread(server::close, "qupath-sam-server-stop"));
            Thread reader = new Thread(() -> server.read(token, ready), "qupath-sam-server-log");
            reader.setDaemon(true);
            reader.start();
            running = server;
            return server;
        } catch (IOException failure) {
            throw new SamException(
                    FailureReason.UNREACHABLE, command.get(0) + " cannot be started (" + failure.getMessage() + "); " + HOW_TO_INSTALL, failure);
        }
    }

    /** Ends the one that was started here, if any. */
    public static synchronized void stop() {
        if (running != null) {
            running.close();
            running = null;
        }
    }

    /** The one that was started here and runs; null where there is none. */
    public static synchronized LocalServer running() {
        return running != null && running.process.isAlive() ? running : null;
    }

    /** Its port; 0 until it listens. */
    public int port() {
        return port;
    }

    /** What it has printed. */
    public String log() {
        synchronized (log) {
            return log.toString();
        }
    }

    @Override
    public void close() {
        if (port != 0 && String.valueOf(port).equals(System.getProperty("qupath.sam.port"))) {
            List.of("host", "port", "token", "tls", "ca").forEach(name -> System.clearProperty("qupath.sam." + name));
        }
        process.destroy();
        try {
            if (!process.waitFor(10, TimeUnit.SECONDS)) {
                process.destroyForcibly();
            }
            Files.deleteIfExists(tokenFile);
        } catch (InterruptedException stopped) {
            process.destroyForcibly();
            Thread.currentThread().interrupt();
        } catch (IOException leftBehind) {
            tokenFile.toFile().deleteOnExit();
        }
    }

    private void read(String token, Consumer<Integer> ready) {
        try (var lines = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                synchronized (log) {
                    log.append(line).append('\n');
                    log.delete(0, Math.max(0, log.length() - MOST_LOG));
                }
                if (port == 0 && line.startsWith(LISTENING)) {
                    port = Integer.parseInt(line.substring(LISTENING.length()).split("[^0-9]", 2)[0]);
                    use(token);
                    ready.accept(port);
                }
            }
        } catch (IOException ended) {
            synchronized (log) {
                log.append(ended.getMessage()).append('\n');
            }
        }
        if (port == 0) {
            ready.accept(-1);
        }
    }

    private void use(String token) {
        System.setProperty("qupath.sam.host", "127.0.0.1");
        System.setProperty("qupath.sam.tls", "false");
        System.setProperty("qupath.sam.ca", "");
        System.setProperty("qupath.sam.token", token);
        System.setProperty("qupath.sam.port", String.valueOf(port));
    }

    private static String newToken() {
        byte[] random = new byte[32];
        new SecureRandom().nextBytes(random);
        return HexFormat.of().formatHex(random);
    }

    /** The program as a shell would find it, and where pip and pipx put it. */
    private static String found() {
        boolean windows = System.getProperty("os.name").toLowerCase(Locale.ROOT).contains("win");
        String name = windows ? "qupath-sam.exe" : "qupath-sam";
        String path = System.getenv().getOrDefault("PATH", "");
        Stream<Path> folders = Stream.concat(
                Stream.of(path.split(Pattern.quote(File.pathSeparator))).filter(folder -> !folder.isBlank()).map(Path::of),
                Stream.of(Path.of(System.getProperty("user.home"), ".local", "bin"), Path.of("/opt/homebrew/bin"), Path.of("/usr/local/bin")));
        return folders.map(folder -> folder.resolve(name))
                .filter(Files::isExecutable)
                .map(Path::toString)
                .findFirst()
                .orElseThrow(() -> new SamException(
                        FailureReason.UNREACHABLE, "there is no program qupath-sam on this machine; " + HOW_TO_INSTALL));
    }
}
