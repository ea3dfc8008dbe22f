package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.qupathsam.v1.ErrorInfo;
import io.github.qupathsam.v1.ErrorReason;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.Map;
import javax.net.ssl.SSLHandshakeException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.EnumSource.Mode;
import org.junit.jupiter.params.provider.ValueSource;

class FailuresTest {
    private final Failures failures = new Failures(Settings.load(Map.of("host", "gpu1", "port", "7")));

    @ParameterizedTest
    @EnumSource(value = ErrorReason.class, mode = Mode.EXCLUDE, names = {"UNRECOGNIZED", "ERROR_REASON_UNSPECIFIED"})
    void everyReasonOfTheProtocolHasItsOwn(ErrorReason reason) {
        FailureReason found = FailureReason.of(reason);
        assertEquals(reason.name(), "ERROR_REASON_" + found.name());
    }

    @ParameterizedTest
    @EnumSource(FailureReason.class)
    void everyReasonSaysWhatToDo(FailureReason reason) {
        assertFalse(reason.advice().isBlank());
        assertFalse(reason.advice().endsWith("."));
    }

    @Test
    void theServersOwnWordsReachTheUser() {
        Metadata trailers = new Metadata();
        ErrorInfo info = ErrorInfo.newBuilder()
                .setReason(ErrorReason.ERROR_REASON_UNKNOWN_MODEL)
                .setMessage("unknown model 'x'; known: fake")
                .build();
        trailers.put(Failures.ERROR_INFO, info.toByteArray());
        SamException failure = failures.of(Status.NOT_FOUND.asRuntimeException(trailers));
        assertEquals(FailureReason.UNKNOWN_MODEL, failure.reason());
        assertEquals("unknown model 'x'; known: fake", failure.getMessage());
    }

    @Test
    void whatEndsInUnavailableIsToldApart() {
        SamException away = failures.of(Status.UNAVAILABLE.withDescription("io exception").asRuntimeException());
        assertEquals(FailureReason.UNREACHABLE, away.reason());
        assertTrue(away.getMessage().contains("gpu1:7") && away.getMessage().contains("qupath-sam serve"));
        SamException stranger = failures.of(
                Status.UNAVAILABLE.withCause(new SSLHandshakeException("PKIX path building failed")).asRuntimeException());
        assertEquals(FailureReason.BAD_CERTIFICATE, stranger.reason());
    }

    @Test
    void aReplicaThatHasGoneIsWorthAskingAgain() {
        String ray = "The actor died unexpectedly before finishing this task.\n\tclass_name: ServeReplica";
        SamException lost = failures.of(Status.INTERNAL.withDescription(ray).asRuntimeException());
        assertEquals(FailureReason.BUSY, lost.reason());
        assertTrue(lost.reason().passes());
        SamException fault = failures.of(Status.INTERNAL.withDescription("RST_STREAM").asRuntimeException());
        assertEquals(FailureReason.INTERNAL, fault.reason());
    }

    /** NGINX answers with a page of HTML, Envoy with words of its own; before, both were "no server answers: start it". */
    @ParameterizedTest
    @ValueSource(strings = {
        "HTTP status code 502\ninvalid content-type: text/html\nheaders: Metadata(:status=502,server=nginx/1.22.1)\nDATA-----\n<html>",
        "HTTP status code 503",
        "HTTP status code 504\ninvalid content-type: text/html",
        "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure"
                + " reason: delayed connect error: Connection refused",
        "no healthy upstream"
    })
    void aFrontThatHasLostItsServerIsWorthAskingAgain(String words) {
        SamException lost = failures.of(Status.UNAVAILABLE.withDescription(words).asRuntimeException());
        assertEquals(FailureReason.BUSY, lost.reason());
        assertTrue(lost.getMessage().startsWith("the server behind gpu1:7 that worked on this has gone ("), lost.getMessage());
        assertTrue(lost.getMessage().endsWith(lost.reason().advice()) && !lost.getMessage().contains("\n"), lost.getMessage());
    }

    @ParameterizedTest
    @ValueSource(strings = {"HTTP status code 404", "io exception: upstream connect error", "Network closed for unknown reason"})
    void otherWordsAreNotThoseOfAFront(String words) {
        assertEquals(FailureReason.UNREACHABLE, failures.of(Status.UNAVAILABLE.withDescription(words).asRuntimeException()).reason());
    }

    @Test
    void aDeadlineBeforeThereWasAConnectionIsNobodyThere() {
        Status walled = Status.DEADLINE_EXCEEDED.withDescription(
                "CallOptions deadline exceeded after 0.9s. [closed=[], open=[[buffered_nanos=1, waiting_for_connection]]]");
        assertEquals(FailureReason.UNREACHABLE, failures.of(walled.asRuntimeException()).reason());
    }

    @Test
    void statusesWithoutInfoAreStillTold() {
        assertEquals(FailureReason.UNAUTHENTICATED, failures.of(Status.UNAUTHENTICATED.asRuntimeException()).reason());
        assertEquals(FailureReason.WRONG_VERSION, failures.of(Status.UNIMPLEMENTED.asRuntimeException()).reason());
        assertEquals(FailureReason.DEADLINE_EXCEEDED, failures.of(Status.DEADLINE_EXCEEDED.asRuntimeException()).reason());
        assertEquals(FailureReason.INTERNAL, failures.of(new IllegalStateException("odd")).reason());
    }

    @Test
    void garbageInTheTrailersDoesNotHideTheStatus() {
        Metadata trailers = new Metadata();
        trailers.put(Failures.ERROR_INFO, new byte[] {(byte) 0xff, 1, 2});
        assertNotEquals(FailureReason.INTERNAL, failures.of(Status.UNAVAILABLE.asRuntimeException(trailers)).reason());
    }

    @Test
    void onlyWhatPixelsCanCureWantsThem() {
        for (FailureReason reason : FailureReason.values()) {
            boolean named = reason.name().startsWith("SLIDE_") || reason == FailureReason.PIXELS_MISSING;
            assertEquals(named, reason.wantsPixels(), reason.name());
        }
    }
}
