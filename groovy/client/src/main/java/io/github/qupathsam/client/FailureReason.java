package io.github.qupathsam.client;

import io.github.qupathsam.v1.ErrorReason;

/** Why a call failed, and what a person can do about it. */
public enum FailureReason {
    UNREACHABLE("start it with `qupath-sam serve` there, or set host and port " + Where.SETTINGS, null),
    BAD_CERTIFICATE("set ca to the server's certificate file, or tls to what the server speaks " + Where.SETTINGS, null),
    UNAUTHENTICATED("set token to the one that the server was started with " + Where.SETTINGS,
            ErrorReason.ERROR_REASON_UNAUTHENTICATED),
    WRONG_VERSION("install the jar and the server of the same release (`qupath-sam install-qupath`)", null),
    INVALID_PROMPT("change the prompts", ErrorReason.ERROR_REASON_INVALID_PROMPT),
    INVALID_REGION("choose a region inside the image", ErrorReason.ERROR_REASON_INVALID_REGION),
    INVALID_REQUEST("change the settings of the script", ErrorReason.ERROR_REASON_INVALID_REQUEST),
    TOO_LARGE("ask for a smaller region, or for fewer objects at once", ErrorReason.ERROR_REASON_TOO_LARGE),
    SLIDE_NOT_FOUND("start the server with --path-map, or push the pixels", ErrorReason.ERROR_REASON_SLIDE_NOT_FOUND),
    SLIDE_UNREADABLE("push the pixels", ErrorReason.ERROR_REASON_SLIDE_UNREADABLE),
    SLIDE_MISMATCH("push the pixels", ErrorReason.ERROR_REASON_SLIDE_MISMATCH),
    SLIDE_UNSUPPORTED("push the pixels", ErrorReason.ERROR_REASON_SLIDE_UNSUPPORTED),
    PIXELS_MISSING("push the pixels again", ErrorReason.ERROR_REASON_PIXELS_MISSING),
    UNKNOWN_MODEL("choose one of `qupath-sam models list`", ErrorReason.ERROR_REASON_UNKNOWN_MODEL),
    WEIGHTS_MISSING("run `qupath-sam models pull NAME` on the server", ErrorReason.ERROR_REASON_WEIGHTS_MISSING),
    WRONG_WEIGHTS("replace the model's file on the server", ErrorReason.ERROR_REASON_WRONG_WEIGHTS),
    UNSUPPORTED_PROMPT("use another kind of prompt, or another model", ErrorReason.ERROR_REASON_UNSUPPORTED_PROMPT),
    OUT_OF_MEMORY("ask for fewer objects or a smaller model, or give the server more memory",
            ErrorReason.ERROR_REASON_OUT_OF_MEMORY),
    UNSUPPORTED_PROMPTING("use another prompting, or another model", ErrorReason.ERROR_REASON_UNSUPPORTED_PROMPTING),
    BUSY("try again in a moment", ErrorReason.ERROR_REASON_BUSY),
    STARTING("try again in a moment; the server is loading its model", ErrorReason.ERROR_REASON_STARTING),
    CANCELLED("repeat the call if it is still wanted", ErrorReason.ERROR_REASON_CANCELLED),
    DEADLINE_EXCEEDED("ask for less at once, or allow more time (timeout) " + Where.SETTINGS,
            ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED),
    INTERNAL("look for the cause in the server's log", ErrorReason.ERROR_REASON_INTERNAL);

    /** Where settings are; a class of its own, as constants of an enum come before its fields. */
    static final class Where {
        static final String SETTINGS = "in Extensions > SAM > Server..., or in .qupath-sam/client.properties of your home folder";

        private Where() {}
    }

    private final String advice;
    private final ErrorReason message;

    FailureReason(String advice, ErrorReason message) {
        this.advice = advice;
        this.message = message;
    }

    /** What to do, as a sentence without its capital and full stop. */
    public String advice() {
        return advice;
    }

    /** Whether the same call can succeed once the client sends the pixels itself. */
    public boolean wantsPixels() {
        return switch (this) {
            case SLIDE_NOT_FOUND, SLIDE_UNREADABLE, SLIDE_MISMATCH, SLIDE_UNSUPPORTED, PIXELS_MISSING -> true;
            default -> false;
        };
    }

    /** Whether the same call can succeed a little later. */
    public boolean passes() {
        return this == UNREACHABLE || this == BUSY || this == STARTING;
    }

    /** The reason that the protocol names so; INTERNAL for one that this client does not know. */
    static FailureReason of(ErrorReason reason) {
        for (FailureReason candidate : values()) {
            if (candidate.message == reason && reason != null) {
                return candidate;
            }
        }
        return INTERNAL;
    }
}
