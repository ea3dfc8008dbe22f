package io.github.qupathsam.client;

import com.google.protobuf.InvalidProtocolBufferException;
import io.github.qupathsam.v1.ErrorInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLPeerUnverifiedException;

/** From gRPC's statuses and the protocol's ErrorInfo to {@link SamException}. */
final class Failures {
    /** Trailing metadata in which the server sends an ErrorInfo. */
    static final Metadata.Key<byte[]> ERROR_INFO =
            Metadata.Key.of("qupath-sam-error-bin", Metadata.BINARY_BYTE_MARSHALLER);

    /**
     * What is said in place of a server that has gone, or cannot be reached, by what stands before it: Ray Serve's proxy (of a replica), NGINX
     * (HTTP's 502 to 504) and Envoy. The server's own faults carry an ErrorInfo. The Python client knows the same (client/failures.py).
     */
    private static final Map<Status.Code, Pattern> LOST_BEHIND = Map.of(
            Status.Code.INTERNAL, Pattern.compile("^The actor "),
            Status.Code.UNAVAILABLE, Pattern.compile("^HTTP status code 50[234]|^upstream connect error|^no healthy upstream"));

    private final Settings settings;
    private final String address;
    private final boolean tls;

    Failures(Settings settings) {
        this.settings = settings;
        this.address = settings.address();
        this.tls = settings.tls();
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
        Pattern lost = LOST_BEHIND.get(status.getCode());
        if (lost != null && lost.matcher(told).find()) {
            String first = told.lines().findFirst().orElse("");
            return failed(FailureReason.BUSY, "the server behind " + address + " that worked on this has gone (" + first + ")", failure);
        }
        return switch (status.getCode()) {
            case UNAVAILABLE -> unavailable(status, told, failure);
            case UNAUTHENTICATED, PERMISSION_DENIED ->
                    failed(FailureReason.UNAUTHENTICATED, address + " does not let us in (" + told + ")", failure);
            case UNIMPLEMENTED ->
                    failed(FailureReason.WRONG_VERSION, "what answers at " + address + " does not know this call", failure);
            case RESOURCE_EXHAUSTED -> failed(FailureReason.TOO_LARGE, told, failure);
            case CANCELLED -> failed(FailureReason.CANCELLED, "the call was cancelled (" + told + ")", failure);
            case DEADLINE_EXCEEDED -> told.contains("waiting_for_connection")
                    ? failed(FailureReason.UNREACHABLE, "no connection to " + address + " has come about in time", failure)
                    : failed(FailureReason.DEADLINE_EXCEEDED, address + " did not answer in time", failure);
            case NOT_FOUND, FAILED_PRECONDITION, INVALID_ARGUMENT -> failed(FailureReason.INVALID_REQUEST, told, failure);
            default -> failed(FailureReason.INTERNAL, address + " failed: " + status.getCode() + ", " + told, failure);
        };
    }

    /** No server there, or a program with another protocol. */
    private SamException unavailable(Status status, String told, Throwable failure) {
        if (LocalServer.hasEndedAt(settings.host(), settings.port())) {
            return new SamException(
                    FailureReason.UNREACHABLE,
                    "the server that was started on this machine has ended; start it again in Extensions > SAM > Server...",
                    failure);
        }
        SSLException handshake = handshakeFault(status);
        if (handshake == null) {
            String where = "no server answers at " + address + " (" + told + ")";
            // What a client sees of a server that waits for a TLS handshake, or for the client's certificate: TLS 1.3 asks
            // for it after the client thinks that all is well, and then the refusal may come too late to be read.
            boolean brokenOff = Stream.of("End of stream", "reset", "aborted", "Broken pipe").anyMatch(told::contains);
            String secured = tls
                    ? "; where it wants to see a certificate of yours, set certificate and key"
                    : "; where it speaks TLS, set tls and ca";
            return new SamException(
                    FailureReason.UNREACHABLE,
                    where + "; " + FailureReason.UNREACHABLE.advice() + (brokenOff ? secured : ""),
                    failure);
        }
        if (told.contains("Unsupported or unrecognized SSL message")) {
            return new SamException(
                    FailureReason.BAD_CERTIFICATE,
                    address + " does not speak TLS; start the server with --tls-certificate, or set tls to false and leave ca out "
                            + FailureReason.Where.SETTINGS,
                    failure);
        }
        if (handshake instanceof SSLPeerUnverifiedException) {
            return new SamException(
                    FailureReason.BAD_CERTIFICATE,
                    address + " has a certificate for another name (" + told + "); set host to a name in the certificate "
                            + FailureReason.Where.SETTINGS,
                    failure);
        }
        if (told.contains("shut down") || told.contains("certificate_required")) {
            return new SamException(
                    FailureReason.BAD_CERTIFICATE,
                    address + " broke off the handshake (" + told + "); where it wants to see a certificate of yours, set"
                            + " certificate and key " + FailureReason.Where.SETTINGS,
                    failure);
        }
        return failed(FailureReason.BAD_CERTIFICATE, address + " does not prove who it is (" + told + ")", failure);
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

    private static SSLException handshakeFault(Status status) {
        for (Throwable cause = status.getCause(); cause != null; cause = cause.getCause()) {
            if (cause instanceof SSLException fault) {
                return fault;
            }
        }
        return null;
    }
}
