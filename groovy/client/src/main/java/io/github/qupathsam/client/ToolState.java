package io.github.qupathsam.client;

/** What is known of the server, as the icon of the click tool and its tooltip show it. */
public enum ToolState {
    UNKNOWN("#0082b4", ""),
    AWAY("#c0392b", "There is no SAM server: Extensions > SAM > Server..."),
    STARTING("#e69500", "Waiting for the SAM server"),
    READY("#2e8b57", "The SAM server is ready"),
    WORKING("#00b4ff", "The SAM server is working");

    private static final String USE = "SAM: click on an object, Shift adds, Alt takes away, Enter keeps, Escape drops (J)";

    private final String colour;
    private final String words;

    ToolState(String colour, String words) {
        this.colour = colour;
        this.words = words;
    }

    /**
     * @param working whether an answer is awaited
     * @param isStarting whether a server on this machine starts
     * @param known of the server; null for nothing
     */
    public static ToolState of(boolean working, boolean isStarting, LiveSession.State known) {
        if (working || isStarting || known == null) {
            return working ? WORKING : isStarting ? STARTING : UNKNOWN;
        }
        return switch (known) {
            case CONNECTED -> READY;
            case RECONNECTING -> STARTING;
            case DISCONNECTED -> AWAY;
        };
    }

    /** Of the icon, "#rrggbb". */
    public String colour() {
        return colour;
    }

    public String tooltip() {
        return words.isEmpty() ? USE : USE + "\n" + words;
    }
}
