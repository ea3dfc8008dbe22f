package io.github.qupathsam.client;

import com.google.protobuf.InvalidProtocolBufferException;
import io.github.qupathsam.v1.ErrorInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import javax.net.ssl.SSLException;

/** From gRPC's statuses and the protocol's ErrorInfo to {@link SamException}. */
final class Failures {
    /** Trailing metadata in which the server sends an ErrorInfo. */
    static final Metadata.Key<byte[]> ERROR_INFO =
            Metadata.Key.of("qupath-sam-error-bin", Metadata.BINARY_BYTE_MARSHALLER);

    private final String address;

    Failures(Settings settings) {
        this.address = settings.address();
    }

    /** The failure of a unary call, or of a stream as a whole. */
    SamException of(Throwable failure) {
        if (failure instanceof SamException known) {
            return known;
        }
        Metadata trailers = Status.trailersFromThrowable(failure);
        byte[] info = trailers == null ? null : trailers.get(ERROR_INFO);
        if (info != null) {
            try {
                return of(ErrorInfo.parseFrom(info), failure);
            } catch (InvalidProtocolBufferException unreadable) {
                failure.addSuppressed(unreadable);
            }
        }
        return ofStatus(Status.fromThrowable(failure), failure);
    }

    /** The failure of one request of a Live stream. */
    SamException of(ErrorInfo info, Throwable cause) {
        FailureReason reason = FailureReason.of(info.getReason());
        String message = info.getMessage().isEmpty() ? "the server gave no reason; " + reason.advice() : info.getMessage();
        return new SamException(reason, message, cause);
    }

    private SamException ofStatus(Status status, Throwable failure) {
        String told = told(status);
        return switch (status.getCode()) {
            case UNAVAILABLE -> certificateFault(status)
                    ? failed(FailureReason.BAD_CERTIFICATE, address + " does not prove who it is (" + told + ")", failure)
                    : failed(FailureReason.UNREACHABLE, "no server answers at " + address + " (" + told + ")", failure);
            case UNAUTHENTICATED, PERMISSION_DENIED ->
                    failed(FailureReason.UNAUTHENTICATED, address + " does not let us in (" + told + ")", failure);
            case UNIMPLEMENTED ->
                    failed(FailureReason.WRONG_VERSION, "what answers at " + address + " does not know this call", failure);
            case RESOURCE_EXHAUSTED -> failed(FailureReason.TOO_LARGE, told, failure);
            case CANCELLED -> failed(FailureReason.CANCELLED, "the call was cancelled (" + told + ")", failure);
            case DEADLINE_EXCEEDED -> failed(FailureReason.DEADLINE_EXCEEDED, address + " did not answer in time", failure);
            case NOT_FOUND, FAILED_PRECONDITION, INVALID_ARGUMENT -> failed(FailureReason.INVALID_REQUEST, told, failure);
            default -> failed(FailureReason.INTERNAL, address + " failed: " + status.getCode() + ", " + told, failure);
        };
    }

    /** The most telling words of a status: its own, else those of its innermost cause. */
    private static String told(Status status) {
        Throwable cause = status.getCause();
        while (cause != null && cause.getCause() != null) {
            cause = cause.getCause();
        }
        if (cause != null && cause.getMessage() != null) {
            return cause.getMessage();
        }
        return status.getDescription() == null ? status.getCode().toString() : status.getDescription();
    }

    private static SamException failed(FailureReason reason, String what, Throwable cause) {
        return new SamException(reason, what + "; " + reason.advice(), cause);
    }

    private static boolean certificateFault(Status status) {
        for (Throwable cause = status.getCause(); cause != null; cause = cause.getCause()) {
            if (cause instanceof SSLException) {
                return true;
            }
        }
        return false;
    }
}
