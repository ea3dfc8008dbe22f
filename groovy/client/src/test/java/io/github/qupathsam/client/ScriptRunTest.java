package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import org.junit.jupiter.api.Test;

class ScriptRunTest {
    private final List<String> said = new ArrayList<>();
    private final List<String> shown = new ArrayList<>();

    private boolean run(boolean headless, Callable<?> work) throws Exception {
        return ScriptRun.of(headless, said::add, shown::add, work);
    }

    private static String noServer() {
        throw new SamException(FailureReason.UNREACHABLE, "no server answers at 127.0.0.1:1");
    }

    @Test
    void aReportIsPrinted() throws Exception {
        assertTrue(run(false, () -> "2 outlined"));
        assertEquals(List.of("qupath-sam: 2 outlined"), said);
        assertEquals(List.of(), shown);
    }

    /** The menu makes a step of undo where this says true: an empty step is one that Ctrl+Z undoes without a sign. */
    @Test
    void workThatHasChangedNothingIsToldFromTheRest() throws Exception {
        assertFalse(run(false, () -> ScriptRun.report("0 refined", false)));
        assertTrue(run(false, () -> ScriptRun.report("1 refined", true)));
        assertEquals(List.of("qupath-sam: 0 refined", "qupath-sam: 1 refined"), said);
        assertEquals(List.of(), shown);
    }

    /** On 0.1.0 an error of a script was 15 lines of stack trace. */
    @Test
    void inTheWindowAFailureIsOneSentenceAndADialog() throws Exception {
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

    @Test
    void aFaultOfTheScriptKeepsItsStackTrace() {
        NullPointerException fault = assertThrows(NullPointerException.class, () -> run(false, () -> {
            throw new NullPointerException("x");
        }));
        assertTrue(fault.getStackTrace().length > 0);
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
