package io.github.qupathsam.client;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.reflect.InvocationTargetException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import javax.script.ScriptException;

/** What a person reads of a failure: one sentence, which ends in what to do. The stack trace is for the log. */
final class FailureText {
    static final String REPORT = "set the log level to DEBUG in Edit > Preferences, repeat it, and send what View > Show log says to "
            + "the people who make qupath-sam";

    private FailureText() {}

    static String of(Throwable failure) {
        Throwable cause = failure;
        while (cause.getCause() != null
                && (cause instanceof ExecutionException || cause instanceof CompletionException
                        || cause instanceof InvocationTargetException || cause instanceof ScriptException)) {
            cause = cause.getCause();
        }
        String message = cause.getMessage() == null ? "" : cause.getMessage().strip();
        if (cause instanceof SamException || cause instanceof OutOfMemoryError) {
            return SamException.of(cause).getMessage();
        }
        if (cause instanceof InterruptedException) {
            return "stopped; run it again if it is still wanted";
        }
        boolean isSaid = cause instanceof IllegalStateException || cause instanceof IllegalArgumentException || cause instanceof UncheckedIOException;
        if (isSaid && !message.isEmpty() && !message.equals(String.valueOf(cause.getCause()))) {
            return message;
        }
        if (cause instanceof UncheckedIOException wrapped) {
            return of(wrapped.getCause());
        }
        if (cause instanceof IOException read) {
            return "a file cannot be read or written (" + reason(read) + "); see that it is there, that you may write there, and that the disk has space";
        }
        boolean isOtherVersion = cause instanceof LinkageError || cause.getClass().getName().startsWith("groovy.lang.Missing");
        if (isOtherVersion && message.contains("qupathsam")) {
            return "script and client jar are of different versions (" + firstLine(message) + "); run `qupath-sam install-qupath`, and start QuPath again";
        }
        return "this is a fault of the script (" + cause.getClass().getSimpleName() + (message.isEmpty() ? "" : ": " + firstLine(message)) + "); " + REPORT;
    }

    /** In words what Java says by a class and a path. */
    static String reason(IOException failure) {
        if (failure instanceof FileSystemException about) {
            String what = failure instanceof AccessDeniedException ? "permission denied"
                    : failure instanceof NoSuchFileException ? "there is no such file or folder"
                    : failure instanceof FileAlreadyExistsException ? "there is another file of that name"
                    : about.getReason() == null ? about.getClass().getSimpleName() : about.getReason();
            return what + ": " + about.getFile();
        }
        return failure.getMessage() == null ? failure.getClass().getSimpleName() : failure.getMessage();
    }

    private static String firstLine(String message) {
        return message.lines().findFirst().orElse("").strip();
    }
}
