package io.github.qupathsam.client;

import java.io.IOException;
import java.io.StringReader;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A file of lines {@code name=value} ({@link Properties}, UTF-8) that people write as well as programs: what a program does not change,
 * stays as it is, comments included.
 */
final class PropertiesFile {
    /** The name that a line begins with; the names of our settings need no escapes. */
    private static final Pattern NAME = Pattern.compile("[ \\t\\f]*([A-Za-z_.]+)[ \\t\\f]*(?:[=:].*|[ \\t\\f].*)?", Pattern.DOTALL);

    private static final Pattern CONTINUED = Pattern.compile("(?<!\\\\)(?:\\\\\\\\)*\\\\$");

    private PropertiesFile() {}

    /**
     * What stands in a file.
     *
     * @param text as it is, without a byte-order mark; empty where there is no file
     * @param values by their names; where there is a fault, as far as they can be read
     * @param fault why the file is not what it should be; empty where all is well
     */
    record Content(String text, Map<String, String> values, String fault) {}

    /** Never fails: what cannot be read is the fault of the content. */
    static Content read(Path file) {
        if (!Files.exists(file)) {
            return new Content("", Map.of(), "");
        }
        String fault = "";
        String text;
        try {
            byte[] bytes = Files.readAllBytes(file);
            try {
                text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
            } catch (CharacterCodingException other) {
                fault = "it is not in UTF-8; save it so in an editor";
                text = new String(bytes, StandardCharsets.ISO_8859_1);
            }
        } catch (IOException unreadable) {
            return new Content("", Map.of(), "it cannot be read (" + FailureText.reason(unreadable) + "); see to its permissions");
        }
        text = text.startsWith("\uFEFF") ? text.substring(1) : text; // the mark that some editors put in front
        try {
            return new Content(text, values(text), fault);
        } catch (IllegalArgumentException escape) {
            // Of a folder of Windows, written as Windows writes it: the whole file would be unreadable.
            return new Content(text, values(text.replace("\\", "\\\\")), "there is \\u in it; write folders with /, as in C:/users/me");
        }
    }

    /**
     * Changes values in a file; it is wholly the old or wholly the new one.
     *
     * @param changes name to value; an empty value takes the line away
     * @param title comment of a new file
     * @param isPrivate its owner's alone; else readable as any new file there is, for those who share the folder
     * @throws UncheckedIOException where it cannot be written
     */
    static void change(Path file, Map<String, String> changes, String title, boolean isPrivate) {
        String before = read(file).text();
        write(file, changed(before.isEmpty() ? "# " + title + "\n" : before, changes), isPrivate);
    }

    /**
     * Puts a new file, its owner's alone, in the place of one that cannot be used, which stays beside it as {@code NAME.broken}.
     *
     * @return where the old one is
     * @throws UncheckedIOException where it cannot be written; then the old one is where it was
     */
    static Path replace(Path file, Map<String, String> values, String title) {
        Path beside = file.resolveSibling(file.getFileName() + ".broken");
        for (int number = 2; Files.exists(beside); number++) {
            beside = file.resolveSibling(file.getFileName() + ".broken-" + number);
        }
        try {
            Files.move(file, beside);
            try {
                write(file, changed("# " + title + "\n", values), true);
            } catch (UncheckedIOException failure) {
                Files.move(beside, file);
                throw failure;
            }
        } catch (IOException failure) {
            throw unwritable(file, failure);
        }
        return beside;
    }

    private static Map<String, String> values(String text) {
        Properties properties = new Properties();
        try {
            properties.load(new StringReader(text));
        } catch (IOException impossible) {
            throw new UncheckedIOException(impossible);
        }
        Map<String, String> values = new TreeMap<>();
        properties.stringPropertyNames().forEach(name -> values.put(name, properties.getProperty(name)));
        return values;
    }

    static String changed(String text, Map<String, String> changes) {
        Map<String, String> left = new TreeMap<>(changes);
        StringBuilder out = new StringBuilder();
        for (String line : logicalLines(text)) {
            Matcher named = NAME.matcher(line);
            String name = named.matches() ? named.group(1) : "";
            if (!changes.containsKey(name)) {
                out.append(line).append('\n');
            } else if (left.containsKey(name)) { // a second line of this name would win: it goes
                out.append(line(name, left.remove(name)));
            }
        }
        left.forEach((name, value) -> out.append(line(name, value)));
        return out.toString();
    }

    /** A line that ends with a backslash goes on in the next one; comments do not. */
    private static List<String> logicalLines(String text) {
        List<String> lines = new ArrayList<>();
        boolean goesOn = false;
        for (String line : text.lines().toList()) {
            if (goesOn) {
                line = lines.remove(lines.size() - 1) + "\n" + line;
            }
            boolean isComment = !goesOn && (line.strip().startsWith("#") || line.strip().startsWith("!"));
            goesOn = !isComment && CONTINUED.matcher(line).find();
            lines.add(line);
        }
        return lines;
    }

    private static String line(String name, String value) {
        String escaped = value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r");
        return value.isEmpty() ? "" : name + "=" + (escaped.startsWith(" ") ? "\\" : "") + escaped + "\n";
    }

    private static void write(Path file, String text, boolean isPrivate) {
        Path folder = file.toAbsolutePath().getParent();
        try {
            // A temporary file is its owner's alone, on systems that know of that.
            Path written = isPrivate
                    ? Files.createTempFile(folder, file.getFileName().toString(), ".part")
                    : Files.createFile(folder.resolve(file.getFileName() + "." + UUID.randomUUID() + ".part"));
            try {
                Files.writeString(written, text);
                Files.move(written, file, StandardCopyOption.REPLACE_EXISTING);
            } finally {
                Files.deleteIfExists(written);
            }
        } catch (IOException failure) {
            throw unwritable(file, failure);
        }
    }

    private static UncheckedIOException unwritable(Path file, IOException failure) {
        return new UncheckedIOException(
                "cannot write " + file + " (" + FailureText.reason(failure) + "); make its folder writable, and see that the disk has space",
                failure);
    }
}
