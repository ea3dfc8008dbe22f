package io.github.qupathsam.client;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A server on this machine, for this QuPath alone: on a free port, with a token of its own, ended with this process.
 *
 * <p>Once it listens, connections that are made afterwards go to it ({@link #address()}), until {@link #stop()}. That is a state of this
 * process: nothing of it is written down, and what a person has set stays as it is.
 */
public final class LocalServer {
    private static final String HOST = "127.0.0.1";
    private static final String LISTENING = "listening on " + HOST + ":";
    private static final String HOW_TO_INSTALL =
            "install it with `pip install qupath-sam` (or `pipx install qupath-sam`), or give the path of its program";
    private static final int MOST_LOG = 200_000;
    /** For calls under way, seconds: a person who stops it waits for none. */
    private static final String GRACE = "1";
    /** It has the grace, and time to end. */
    private static final int PATIENCE_S = 5;
    /** QuPath's window is gone, and its process stays as long. */
    private static final int PATIENCE_AT_EXIT_S = 3;

    private static final Set<LocalServer> STARTED = ConcurrentHashMap.newKeySet();
    private static LocalServer latest;
    private static boolean endsWithProcess;

    private final Process process;
    private final Path tokenFile;
    private final String token;
    private final StringBuilder log = new StringBuilder();
    private volatile int port;
    private volatile boolean stopped;

    private LocalServer(Process process, Path tokenFile, String token) {
        this.process = process;
        this.tokenFile = tokenFile;
        this.token = token;
    }

    /**
     * Starts one in place of an earlier one, and returns at once.
     *
     * @param program {@code qupath-sam} with or without its folder, or the folder; or several words, as {@code python -m qupath_sam}
     * @param more further options of {@code serve}
     * @param ready gets, on a thread of its own, the port once it listens, and -1 where it ends without {@link #stop()}, before or after
     * @throws SamException where there is no such program
     */
    public static synchronized LocalServer start(String program, List<String> more, Consumer<Integer> ready) {
        List<String> command = command(program);
        try {
            String token = newToken();
            Path tokenFile = Files.createTempFile("qupath-sam", ".token"); // readable by its owner only
            Files.writeString(tokenFile, token + "\n");
            command.addAll(List.of("serve", "--port", "0", "--token-file", tokenFile.toString(), "--grace", GRACE,
                    "--until-input-ends")); // our end of its input is closed with this process, also where that is killed
            command.addAll(more);
            ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
            builder.environment().put("PYTHONUNBUFFERED", "1");
            LocalServer server = new LocalServer(builder.start(), tokenFile, token);
            stop(); // the earlier one: where this one cannot be started, that one stays
            STARTED.add(server);
            daemon(() -> server.read(ready), "qupath-sam-server-log");
            latest = server;
            endWithProcess();
            return server;
        } catch (IOException failure) {
            throw new SamException(
                    FailureReason.UNREACHABLE,
                    program.strip() + " cannot be started (" + FailureText.reason(failure) + "); " + HOW_TO_INSTALL,
                    failure);
        }
    }

    /** Ends the one that was started here, if any. Connections that are made afterwards go elsewhere; waits for nothing. */
    public static synchronized void stop() {
        LocalServer server = latest;
        latest = null;
        if (server != null) {
            server.stopped = true;
            daemon(() -> server.end(PATIENCE_S), "qupath-sam-server-stop");
        }
    }

    /** The one that was started here and runs, or is starting; null where there is none. */
    public static synchronized LocalServer running() {
        return latest != null && latest.process.isAlive() ? latest : null;
    }

    /** The one to which connections go, also where it has ended meanwhile; null where they go to what is set. */
    public static synchronized LocalServer inUse() {
        return latest != null && latest.port != 0 ? latest : null;
    }

    /** The settings by which the one in use is reached; empty where there is none. */
    static Map<String, String> address() {
        LocalServer server = inUse();
        return server == null ? Map.of() : Map.of("host", HOST, "port", String.valueOf(server.port), "token", server.token,
                "tls", "false", "ca", "", "certificate", "", "key", "");
    }

    /** Whether the one in use, and no other, was at this address, and has ended. */
    static boolean hasEndedAt(String host, int port) {
        LocalServer server = inUse();
        return server != null && host.equals(HOST) && server.port == port && !server.isAlive();
    }

    /** Its port; 0 until it listens. */
    public int port() {
        return port;
    }

    /** Whether it runs, or is starting. */
    public boolean isAlive() {
        return process.isAlive();
    }

    /** What it has printed. */
    public String log() {
        synchronized (log) {
            return log.toString();
        }
    }

    private void end(int seconds) {
        List<ProcessHandle> below = process.descendants().toList(); // Windows ends a process alone
        process.destroy();
        try {
            if (!process.waitFor(seconds, TimeUnit.SECONDS)) {
                process.destroyForcibly();
            }
        } catch (InterruptedException now) {
            process.destroyForcibly();
            Thread.currentThread().interrupt();
        }
        below.forEach(ProcessHandle::destroyForcibly);
        STARTED.remove(this);
        forgetToken();
    }

    private static synchronized void endWithProcess() {
        if (!endsWithProcess) {
            endsWithProcess = true;
            Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                STARTED.forEach(server -> {
                    server.stopped = true;
                    server.process.destroy();
                });
                STARTED.forEach(server -> server.end(PATIENCE_AT_EXIT_S));
            }, "qupath-sam-server-exit"));
        }
    }

    private void read(Consumer<Integer> ready) {
        try (var lines = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                synchronized (log) {
                    log.append(line).append('\n');
                    log.delete(0, Math.max(0, log.length() - MOST_LOG));
                }
                if (port == 0 && line.startsWith(LISTENING)) {
                    port = Integer.parseInt(line.substring(LISTENING.length()).split("[^0-9]", 2)[0]);
                    forgetToken(); // it has been read
                    if (!stopped) {
                        ready.accept(port);
                    }
                }
            }
        } catch (IOException ended) {
            synchronized (log) {
                log.append(ended.getMessage()).append('\n');
            }
        }
        try {
            process.waitFor(PATIENCE_S, TimeUnit.SECONDS); // its output ends before it does
        } catch (InterruptedException now) {
            Thread.currentThread().interrupt();
        }
        forgetToken();
        STARTED.remove(this);
        if (!stopped) {
            ready.accept(-1);
        }
    }

    private void forgetToken() {
        try {
            Files.deleteIfExists(tokenFile);
        } catch (IOException inUse) {
            tokenFile.toFile().deleteOnExit();
        }
    }

    private static void daemon(Runnable work, String name) {
        SamClient.daemon(work, name).start();
    }

    private static String newToken() {
        byte[] random = new byte[32];
        new SecureRandom().nextBytes(random);
        return HexFormat.of().formatHex(random);
    }

    /** The words of a command, as a person writes or pastes them. */
    static List<String> command(String program) {
        String given = program.strip();
        if (given.length() > 1 && given.startsWith("\"") && given.endsWith("\"")) { // so Windows copies a path
            given = given.substring(1, given.length() - 1).strip();
        }
        if (given.isEmpty() || given.equals("qupath-sam")) {
            return new ArrayList<>(List.of(found()));
        }
        File file = new File(given);
        if (file.isFile()) {
            return new ArrayList<>(List.of(given)); // a path with blanks in it
        }
        if (file.isDirectory()) {
            return new ArrayList<>(List.of(programIn(Stream.of(file.toPath(), file.toPath().resolve("bin"), file.toPath().resolve("Scripts")))
                    .orElseThrow(() -> new SamException(
                            FailureReason.UNREACHABLE, "there is no program qupath-sam in " + file + "; " + HOW_TO_INSTALL))));
        }
        return new ArrayList<>(List.of(given.split("\\s+")));
    }

    /** The program as a shell would find it, and where pip and pipx put it. */
    private static String found() {
        String path = System.getenv().getOrDefault("PATH", "");
        Stream<Path> folders = Stream.concat(
                Stream.of(path.split(Pattern.quote(File.pathSeparator))).flatMap(LocalServer::folder),
                Stream.of(Path.of(System.getProperty("user.home"), ".local", "bin"), Path.of("/opt/homebrew/bin"), Path.of("/usr/local/bin")));
        return programIn(folders).orElseThrow(() -> new SamException(
                FailureReason.UNREACHABLE, "there is no program qupath-sam on this machine; " + HOW_TO_INSTALL));
    }

    /** None where a part of PATH is no folder's name: Windows takes what Java does not, such as quotes. */
    private static Stream<Path> folder(String name) {
        try {
            return name.isBlank() ? Stream.empty() : Stream.of(Path.of(name.replace("\"", "")));
        } catch (InvalidPathException none) {
            return Stream.empty();
        }
    }

    private static Optional<String> programIn(Stream<Path> folders) {
        boolean windows = System.getProperty("os.name").toLowerCase(Locale.ROOT).contains("win");
        String name = windows ? "qupath-sam.exe" : "qupath-sam";
        return folders.map(folder -> folder.resolve(name)).filter(Files::isExecutable).map(Path::toString).findFirst();
    }
}
