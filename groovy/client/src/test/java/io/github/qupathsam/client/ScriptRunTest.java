package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.NoSuchFileException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.stream.Stream;
import javax.script.ScriptException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class ScriptRunTest {
    private final List<String> said = new ArrayList<>();
    private final List<String> shown = new ArrayList<>();

    private boolean run(boolean headless, Callable<?> work) {
        return ScriptRun.of(headless, said::add, shown::add, work);
    }

    private static String noServer() {
        throw new SamException(FailureReason.UNREACHABLE, "no server answers at 127.0.0.1:1");
    }

    @Test
    void aReportIsPrinted() {
        assertTrue(run(false, () -> "2 outlined"));
        assertEquals(List.of("qupath-sam: 2 outlined"), said);
        assertEquals(List.of(), shown);
    }

    /** The menu makes a step of undo where this says true: an empty step is one that Ctrl+Z undoes without a sign. */
    @Test
    void workThatHasChangedNothingIsToldFromTheRest() {
        assertFalse(run(false, () -> ScriptRun.report("0 refined", false)));
        assertTrue(run(false, () -> ScriptRun.report("1 refined", true)));
        assertEquals(List.of("qupath-sam: 0 refined", "qupath-sam: 1 refined"), said);
        assertEquals(List.of(), shown);
    }

    /** On 0.1.0 an error of a script was 15 lines of stack trace. */
    @Test
    void inTheWindowAFailureIsOneSentenceAndADialog() {
        assertFalse(run(false, ScriptRunTest::noServer));
        assertEquals(List.of("no server answers at 127.0.0.1:1"), shown);
        assertEquals(List.of("qupath-sam: no server answers at 127.0.0.1:1"), said);
    }

    @Test
    void withoutAWindowItEndsTheScriptAndHasNoStackTrace() {
        ScriptStopped stopped = assertThrows(ScriptStopped.class, () -> run(true, ScriptRunTest::noServer));
        assertEquals(0, stopped.getStackTrace().length);
        assertEquals("no server answers at 127.0.0.1:1", stopped.getMessage());
        assertEquals(List.of(), shown);
    }

    static Stream<Arguments> failures() {
        return Stream.of(
                Arguments.of(new NullPointerException("x"), "this is a fault of the script (NullPointerException: x); set the log level to DEBUG"),
                Arguments.of(new IllegalArgumentException(), "this is a fault of the script (IllegalArgumentException); set the log level"),
                Arguments.of(new AssertionError("odd\n\n  | false"), "this is a fault of the script (AssertionError: odd); set the log level"),
                Arguments.of(new IllegalArgumentException("unknown setting 'prot'; known: []"), "unknown setting 'prot'; known: []"),
                Arguments.of(new IllegalStateException("Nothing is selected. Select prompts."), "Nothing is selected. Select prompts."),
                Arguments.of(new UncheckedIOException(new AccessDeniedException("/lab/data")), "a file cannot be read or written (permission denied: /lab/data); see"),
                Arguments.of(new IOException("No space left on device"), "a file cannot be read or written (No space left on device); see"),
                Arguments.of(new ExecutionException(new NoSuchFileException("a.svs")), "a file cannot be read or written (there is no such file or folder: a.svs); see"),
                Arguments.of(new ScriptException(new ScriptException(new IllegalStateException("Open an image."))), "Open an image."),
                Arguments.of(new OutOfMemoryError("Java heap space"), "QuPath itself has no memory left; allow it more"),
                Arguments.of(new InterruptedException(), "stopped; run it again"),
                Arguments.of(new NoSuchMethodError("'void io.github.qupathsam.client.SamClient.later()'"), "script and client jar are of different versions ("));
    }

    /** On 0.1.0 all of them were 15 lines of stack trace. */
    @ParameterizedTest
    @MethodSource("failures")
    void anyFailureIsOneSentenceThatSaysWhatToDo(Throwable failure, String sentence) {
        Callable<String> work = () -> {
            if (failure instanceof Error error) {
                throw error;
            }
            throw (Exception) failure;
        };
        assertFalse(ScriptRun.of(false, said::add, shown::add, work));
        assertTrue(shown.get(0).startsWith(sentence), shown.get(0));
        assertEquals(1, shown.get(0).lines().count());
        assertEquals(List.of("qupath-sam: " + shown.get(0)), said);
        Thread.interrupted(); // as it was
        ScriptStopped stopped = assertThrows(ScriptStopped.class, () -> ScriptRun.of(true, said::add, shown::add, work));
        assertEquals(0, stopped.getStackTrace().length);
        assertEquals(1, shown.size(), "without a window nothing is shown");
        Thread.interrupted();
    }

    @Test
    void whatIsToBeSetIsWhereItIsSaidToBe() {
        for (FailureReason reason : FailureReason.values()) {
            assertTrue(!reason.advice().contains("see Settings"), reason.name());
        }
        String advice = FailureReason.UNREACHABLE.advice();
        assertTrue(advice.contains(".qupath-sam/client.properties of your home folder"), advice);
    }
}
