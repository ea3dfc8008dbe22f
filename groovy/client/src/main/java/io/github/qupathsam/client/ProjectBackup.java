package io.github.qupathsam.client;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;

/**
 * Copies of images' data as they were before a script changed them: {@code .qupath-sam/script-backups/UTC/ID/data.qpdata} beside the
 * project. To go back, close the project and copy the files over those in {@code data/ID}.
 */
public final class ProjectBackup {
    static final String FOLDER = ".qupath-sam/script-backups";
    /** Copies of so many runs are kept. */
    static final int RUNS_KEPT = 10;

    private static final DateTimeFormatter UTC =
            DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'").withZone(ZoneOffset.UTC);
    /** All images of one run over a project, which is one process or the same hour of a window, are copied to one folder. */
    private static Instant begun = Instant.EPOCH;

    private static Path last;

    private ProjectBackup() {}

    /**
     * Copies what is there of an image's data, once in a run.
     *
     * @param projectFile or its folder
     * @param entryFolder where QuPath keeps the image's data
     * @return the copy's folder; null where the image has never been saved
     * @throws UncheckedIOException where it cannot be copied: then nothing should be changed
     */
    public static Path copy(Path projectFile, Path entryFolder) {
        return copy(projectFile, entryFolder, Instant.now());
    }

    static synchronized Path copy(Path projectFile, Path entryFolder, Instant now) {
        if (!Files.isRegularFile(entryFolder.resolve("data.qpdata"))) {
            return null;
        }
        Path project = Files.isDirectory(projectFile) ? projectFile : projectFile.toAbsolutePath().getParent();
        Path all = project.resolve(FOLDER);
        Path run = all.resolve(UTC.format(now));
        boolean sameRun = last != null && last.startsWith(all) && now.isBefore(begun.plusSeconds(60));
        if (sameRun && !Files.exists(last.resolve(entryFolder.getFileName().toString()))) {
            run = last;
        }
        begun = now;
        last = run;
        Path target = run.resolve(entryFolder.getFileName().toString());
        try {
            Files.createDirectories(target);
            for (String name : List.of("data.qpdata", "summary.json")) {
                Path file = entryFolder.resolve(name);
                if (Files.isRegularFile(file)) {
                    Files.copy(file, target.resolve(name), StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.COPY_ATTRIBUTES);
                }
            }
            prune(all);
        } catch (IOException failure) {
            throw new UncheckedIOException(
                    "cannot copy the image's data to " + target + " (" + failure.getMessage() + "); nothing is changed", failure);
        }
        return target;
    }

    private static void prune(Path all) throws IOException {
        List<Path> runs;
        try (Stream<Path> folders = Files.list(all)) {
            runs = folders.filter(Files::isDirectory).sorted().toList();
        }
        for (Path old : runs.subList(0, Math.max(0, runs.size() - RUNS_KEPT))) {
            try (Stream<Path> files = Files.walk(old)) {
                for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                    Files.delete(file);
                }
            }
        }
    }
}
