package io.github.qupathsam.client;

import java.time.Duration;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;

/**
 * Where the server is and how to talk to it.
 *
 * <p>Each setting is looked for, first found first taken, as system property {@code qupath.sam.port}, environment variable
 * {@code QUPATH_SAM_PORT}, and line {@code port=50051} of the file {@code .qupath-sam/client.properties} in the user's home
 * (another file: system property {@code qupath.sam.settings} or environment variable {@code QUPATH_SAM_SETTINGS}). Above all of them
 * is the address of a {@link LocalServer} that is in use; it is never written down.
 *
 * @param host name or address of the server
 * @param port its port
 * @param tls whether the connection is encrypted
 * @param ca PEM file of the certificates to trust, which implies tls; empty takes Java's own
 * @param certificate PEM file of this client's own certificate, for a server that wants to see one; implies tls; or empty
 * @param key PEM file (PKCS#8, no password) of its private key; goes with certificate
 * @param token sent as bearer token; empty sends none. To other machines it goes only by tls, or with {@code token_without_tls}
 * @param model name of the model; empty takes the server's default
 * @param timeout longest wait for one answer
 * @param patience how long to go on trying while a server that has answered before is away or busy
 */
public record Settings(
        String host, int port, boolean tls, String ca, String certificate, String key, String token, String model,
        Duration timeout, Duration patience) {

    private static final Pattern LOCAL = Pattern.compile("localhost|127\\.\\d+\\.\\d+\\.\\d+|::1|\\[::1]");
    /** As the server takes it (RFC 6750, sec. 2.1). */
    private static final Pattern TOKEN = Pattern.compile("[A-Za-z0-9._~+/-]+=*");

    /** Names of all settings, with their defaults. */
    static final Map<String, String> DEFAULTS = new TreeMap<>(Map.ofEntries(
            Map.entry("host", "127.0.0.1"),
            Map.entry("port", "50051"),
            Map.entry("tls", "false"),
            Map.entry("ca", ""),
            Map.entry("certificate", ""),
            Map.entry("key", ""),
            Map.entry("token", ""),
            Map.entry("token_without_tls", "false"),
            Map.entry("model", ""),
            Map.entry("timeout", "120"),
            Map.entry("patience", "30")));

    /** The settings of this machine and user; where {@link LocalServer} is in use, its address. */
    public static Settings load() {
        return load(Map.of());
    }

    /** As {@link #load()}, with what is given here put above all else. Durations are seconds. */
    public static Settings load(Map<String, ?> overrides) {
        Map<String, Object> given = new TreeMap<>(LocalServer.address());
        given.putAll(overrides);
        return loadStored(given);
    }

    /** As {@link #load(Map)}, but whether a {@link LocalServer} is in use makes no difference. */
    public static Settings loadStored(Map<String, ?> overrides) {
        return load(overrides, System::getProperty, System.getenv()::get);
    }

    static Settings load(
            Map<String, ?> overrides, UnaryOperator<String> systemProperty, UnaryOperator<String> environment) {
        StoredSettings stored = StoredSettings.read(systemProperty, environment);
        if (!stored.fileFault().isEmpty()) {
            throw new IllegalArgumentException(stored.fileFault());
        }
        Map<String, String> values = new TreeMap<>(stored.values());
        overrides.forEach((name, value) -> values.put(known(name, "settings"), String.valueOf(value)));
        return of(values);
    }

    /** The address as people write it. */
    public String address() {
        return host + ":" + port;
    }

    /** Whether the server runs on this machine: then pixels need not be compressed. */
    boolean isLocal() {
        return LOCAL.matcher(host).matches();
    }

    /** Without the token, so that it can be printed. */
    @Override
    public String toString() {
        return (tls ? "tls " : "") + address() + (model.isEmpty() ? "" : ", model " + model);
    }

    /** @throws IllegalArgumentException where one cannot be, or they do not go together */
    static Settings of(Map<String, String> values) {
        String ca = values.get("ca").strip();
        String certificate = values.get("certificate").strip();
        String key = values.get("key").strip();
        if (certificate.isEmpty() != key.isEmpty()) {
            throw new IllegalArgumentException("certificate and key go together; set both, as `qupath-sam certs create` names them");
        }
        Settings settings = new Settings(
                ServerAddress.host(values.get("host")),
                ServerAddress.port(values.get("port")),
                truth(values, "tls") || !ca.isEmpty() || !certificate.isEmpty(),
                ca,
                certificate,
                key,
                token(values),
                values.get("model").strip(),
                seconds(values, "timeout"),
                seconds(values, "patience"));
        boolean exposed = !settings.token.isEmpty() && !settings.tls && !settings.isLocal();
        if (exposed && !truth(values, "token_without_tls")) {
            throw new IllegalArgumentException(
                    "the token would travel unencrypted to " + settings.host
                            + "; set tls and ca, or token_without_tls=true where the network is trusted");
        }
        return settings;
    }

    /** The message never repeats it. */
    private static String token(Map<String, String> values) {
        String token = values.get("token").strip();
        if (!token.isEmpty() && !TOKEN.matcher(token).matches()) {
            throw new IllegalArgumentException(
                    "token must be one word of letters, digits and . _ ~ + / -; copy it again from the server's token file");
        }
        return token;
    }

    static String known(String name, String where) {
        if (!DEFAULTS.containsKey(name)) {
            throw new IllegalArgumentException(
                    "unknown setting '" + name + "' in " + where + "; known: " + new TreeSet<>(DEFAULTS.keySet()));
        }
        return name;
    }

    private static double number(Map<String, String> values, String name) {
        try {
            return Double.parseDouble(values.get(name).strip());
        } catch (NumberFormatException wrong) {
            throw new IllegalArgumentException(name + " must be a number, got '" + values.get(name) + "'", wrong);
        }
    }

    private static boolean truth(Map<String, String> values, String name) {
        return switch (values.get(name).strip().toLowerCase(java.util.Locale.ROOT)) {
            case "true", "1", "yes", "on" -> true;
            case "false", "0", "no", "off", "" -> false;
            default -> throw new IllegalArgumentException(name + " must be true or false, got '" + values.get(name) + "'");
        };
    }

    private static Duration seconds(Map<String, String> values, String name) {
        double seconds = number(values, name);
        if (!(seconds > 0 && seconds < 1e7)) {
            throw new IllegalArgumentException(name + " must be a positive number of seconds, got " + seconds);
        }
        return Duration.ofMillis(Math.max(1, Math.round(seconds * 1000)));
    }
}
