package io.github.qupathsam.client;

import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Host and port of a server, as people write them; what is none is said, with what to write instead. */
final class ServerAddress {
    private static final Pattern IPV6 = Pattern.compile("[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%\\w+)?");
    private static final Pattern NAME = Pattern.compile("[^\\s:/\\\\@?#,;\\[\\]]+");
    private static final Pattern SCHEME = Pattern.compile("([A-Za-z][A-Za-z0-9+.-]*:/{1,3}).*");
    private static final Pattern WITH_PORT = Pattern.compile("(.+):(\\d+)");
    private static final Pattern PORT = Pattern.compile("[0-9]{1,9}");

    private ServerAddress() {}

    /**
     * A name or an address, an IPv6 address with brackets or without.
     *
     * @throws IllegalArgumentException where it is none
     */
    static String host(String text) {
        String host = text.strip();
        String bare = host.startsWith("[") && host.endsWith("]") ? host.substring(1, host.length() - 1) : host;
        if (IPV6.matcher(bare).matches() || NAME.matcher(host).matches()) {
            return host;
        }
        throw new IllegalArgumentException("host is '" + text + "': " + fault(host)
                + "; write the name or address of the server alone, such as 127.0.0.1, and its port as port");
    }

    /**
     * A port from 1 to 65535.
     *
     * @throws IllegalArgumentException where it is none
     */
    static int port(String text) {
        String port = text.strip();
        int number = PORT.matcher(port).matches() ? Integer.parseInt(port) : -1;
        if (number < 1 || number > 65535) {
            throw new IllegalArgumentException("port must be a whole number from 1 to 65535, got '" + text + "'");
        }
        return number;
    }

    private static String fault(String host) {
        if (host.isEmpty()) {
            return "it is empty";
        }
        Matcher scheme = SCHEME.matcher(host);
        if (scheme.matches()) {
            return "leave '" + scheme.group(1) + "' out";
        }
        Matcher withPort = WITH_PORT.matcher(host);
        if (withPort.matches()) {
            return "its port belongs elsewhere: host=" + withPort.group(1) + ", port=" + withPort.group(2);
        }
        return "this is no name of a host";
    }
}
