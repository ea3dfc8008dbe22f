package io.github.qupathsam.client;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.DirectoryNotEmptyException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;

/**
 * Copies of images' data as they were before a script changed them: {@code .qupath-sam/script-backups/UTC/ID/data.qpdata} beside the
 * project. To go back, close the project and copy the files over those in {@code data/ID}.
 *
 * <p>A run over a project without a window is one process, and all its images go to one folder, however long it takes. In a window a
 * second copy of the same image begins another folder. A process deletes no copy of its own.
 */
public final class ProjectBackup {
    static final String FOLDER = ".qupath-sam/script-backups";
    /** So many copies of an image by other processes are kept. */
    static final int COPIES_KEPT = 10;

    private static final DateTimeFormatter UTC =
            DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'").withZone(ZoneOffset.UTC);
    private static final ProjectBackup OF_THIS_PROCESS = new ProjectBackup();

    /** The folders that this process has made. */
    private final Set<Path> made = new HashSet<>();
    /** The folder of the run, by the folder of all runs of a project. */
    private final Map<Path, Path> current = new HashMap<>();

    /** What one process copies. */
    ProjectBackup() {}

    /**
     * Copies what is there of an image's data, before a script changes it.
     *
     * @param projectFile or its folder
     * @param entryFolder where QuPath keeps the image's data
     * @return the copy's folder; null where the image has never been saved
     * @throws UncheckedIOException where it cannot be copied: then nothing should be changed
     */
    public static Path copy(Path projectFile, Path entryFolder) {
        return OF_THIS_PROCESS.copy(projectFile, entryFolder, Instant.now());
    }

    synchronized Path copy(Path projectFile, Path entryFolder, Instant now) {
        if (!Files.isRegularFile(entryFolder.resolve("data.qpdata"))) {
            return null;
        }
        Path project = Files.isDirectory(projectFile) ? projectFile : projectFile.toAbsolutePath().getParent();
        Path all = project.resolve(FOLDER);
        String image = entryFolder.getFileName().toString();
        Path target = all.resolve(UTC.format(now)).resolve(image);
        try {
            Path run = current.get(all);
            if (run == null || Files.exists(run.resolve(image))) {
                run = newFolder(all, UTC.format(now));
                made.add(run);
                current.put(all, run);
            }
            target = run.resolve(image);
            Files.createDirectories(target);
            for (String name : List.of("data.qpdata", "summary.json")) {
                Path file = entryFolder.resolve(name);
                if (Files.isRegularFile(file)) {
                    Files.copy(file, target.resolve(name), StandardCopyOption.COPY_ATTRIBUTES);
                }
            }
            prune(all, image);
        } catch (IOException failure) {
            throw new UncheckedIOException(
                    "cannot copy the image's data to " + target + " (" + FailureText.reason(failure)
                            + "), so nothing is changed; make the project's folder writable, and see that the disk has space", failure);
        }
        return target;
    }

    /** One that no other process has: two may begin in the same second. */
    private static Path newFolder(Path all, String name) throws IOException {
        Files.createDirectories(all);
        for (int number = 1; ; number++) {
            try {
                return Files.createDirectory(all.resolve(number == 1 ? name : String.format("%s-%03d", name, number)));
            } catch (FileAlreadyExistsException taken) {
                continue;
            }
        }
    }

    /** Counts copies of one image, not runs: a process for each image is a run for each, and they must not push out each other. */
    private void prune(Path all, String image) throws IOException {
        List<Path> runs;
        try (Stream<Path> folders = Files.list(all)) {
            runs = folders.filter(run -> !made.contains(run) && Files.isDirectory(run.resolve(image))).sorted().toList();
        }
        for (Path run : runs.subList(0, Math.max(0, runs.size() - COPIES_KEPT))) {
            try (Stream<Path> files = Files.walk(run.resolve(image))) {
                for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                    Files.delete(file);
                }
            }
            try {
                Files.delete(run);
            } catch (DirectoryNotEmptyException others) {
                continue; // it has copies of other images
            }
        }
    }
}
