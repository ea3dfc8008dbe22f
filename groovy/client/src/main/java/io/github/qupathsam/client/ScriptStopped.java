package io.github.qupathsam.client;

/** Ends a script whose user knows why: without a stack trace, which would bury what was said. */
public final class ScriptStopped extends RuntimeException {
    private static final long serialVersionUID = 1L;

    ScriptStopped(String message) {
        super(message, null, false, false);
    }
}
