package io.github.qupathsam.client;

/** A call failed. The message says what happened and ends in what to do; {@link #reason()} is for programs. */
public final class SamException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final FailureReason reason;

    SamException(FailureReason reason, String message, Throwable cause) {
        super(message, cause);
        this.reason = reason;
    }

    SamException(FailureReason reason, String message) {
        this(reason, message, null);
    }

    public FailureReason reason() {
        return reason;
    }

    /** The failure inside whatever wraps it (CompletionException, ExecutionException); INTERNAL where there is none. */
    public static SamException of(Throwable failure) {
        for (Throwable cause = failure; cause != null; cause = cause.getCause()) {
            if (cause instanceof SamException known) {
                return known;
            }
        }
        if (failure instanceof java.util.concurrent.CancellationException) {
            return new SamException(FailureReason.CANCELLED, "the call was cancelled", failure);
        }
        if (failure instanceof OutOfMemoryError) {
            return new SamException(
                    FailureReason.OUT_OF_MEMORY, "QuPath itself has no memory left; allow it more in its preferences", failure);
        }
        return new SamException(FailureReason.INTERNAL, String.valueOf(failure), failure);
    }
}
