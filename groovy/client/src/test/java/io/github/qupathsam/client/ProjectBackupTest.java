package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ProjectBackupTest {
    private static final Instant NOW = Instant.parse("2026-01-02T03:04:05Z");

    @TempDir
    Path project;

    private Path entry(String id, String data) throws Exception {
        Path folder = Files.createDirectories(project.resolve("data").resolve(id));
        Files.writeString(folder.resolve("data.qpdata"), data);
        Files.writeString(folder.resolve("summary.json"), "{}");
        return folder;
    }

    private ProjectBackup process = new ProjectBackup();

    private Path copy(Path folder, Instant now) {
        return process.copy(project.resolve("project.qpproj"), folder, now);
    }

    @Test
    void theDataIsCopiedBesideTheProjectOneFolderARun() throws Exception {
        Path one = copy(entry("1", "old 1"), NOW);
        Path two = copy(entry("2", "old 2"), NOW.plusSeconds(20));
        Path run = project.resolve(".qupath-sam/script-backups/20260102T030405Z");
        assertEquals(List.of(run.resolve("1"), run.resolve("2")), List.of(one, two));
        assertEquals("old 1", Files.readString(one.resolve("data.qpdata")));
        assertEquals("{}", Files.readString(two.resolve("summary.json")));
        assertEquals("old 1", Files.readString(project.resolve("data/1/data.qpdata")));
    }

    @Test
    void aSecondRunDoesNotOverwriteTheFirst() throws Exception {
        Path first = copy(entry("1", "old"), NOW);
        Path second = copy(entry("1", "newer"), NOW.plusSeconds(5));
        assertEquals("old", Files.readString(first.resolve("data.qpdata")));
        assertEquals("newer", Files.readString(second.resolve("data.qpdata")));
    }

    /** A process took a minute for an image, each became a run of its own, and of 20 the first 10 were deleted. */
    @Test
    void aSlowRunKeepsTheCopiesOfAllItsImages() throws Exception {
        for (int i = 0; i < 20; i++) {
            copy(entry("" + i, "old " + i), NOW.plusSeconds(61L * i));
        }
        Path run = project.resolve(".qupath-sam/script-backups/20260102T030405Z");
        for (int i = 0; i < 20; i++) {
            assertEquals("old " + i, Files.readString(run.resolve(i + "/data.qpdata")));
        }
    }

    @Test
    void aProcessDeletesNoCopyOfItsOwn() throws Exception {
        for (int i = 0; i < 2 * ProjectBackup.COPIES_KEPT; i++) {
            Path copied = copy(entry("1", "run " + i), NOW);
            assertEquals("run " + i, Files.readString(copied.resolve("data.qpdata")));
        }
        try (Stream<Path> runs = Files.list(project.resolve(ProjectBackup.FOLDER))) {
            assertEquals(2 * ProjectBackup.COPIES_KEPT, runs.count());
        }
    }

    @Test
    void twoProcessesOfTheSameSecondDoNotOverwriteEachOther() throws Exception {
        Path first = copy(entry("1", "old"), NOW);
        process = new ProjectBackup();
        Path second = copy(entry("1", "newer"), NOW);
        assertEquals("old", Files.readString(first.resolve("data.qpdata")));
        assertEquals("newer", Files.readString(second.resolve("data.qpdata")));
    }

    @Test
    void theNewestCopiesOfAnImageAreKept() throws Exception {
        Path other = copy(entry("2", "other"), NOW);
        for (int i = 0; i < ProjectBackup.COPIES_KEPT + 3; i++) {
            process = new ProjectBackup();
            copy(entry("1", "run " + i), NOW.plusSeconds(3600L * (i + 1)));
        }
        try (Stream<Path> runs = Files.list(project.resolve(ProjectBackup.FOLDER))) {
            List<Path> kept = runs.sorted().toList();
            // That of the process itself comes beside those of others.
            assertEquals(1 + ProjectBackup.COPIES_KEPT + 1, kept.size());
            assertEquals("run 2", Files.readString(kept.get(1).resolve("1/data.qpdata")));
        }
        assertEquals("other", Files.readString(other.resolve("data.qpdata")), "runs over one image push out no other image's");
    }

    @Test
    void withoutDataThereIsNothingToCopy() throws Exception {
        assertNull(copy(Files.createDirectories(project.resolve("data/9")), NOW));
    }

    @Test
    void whatCannotBeCopiedIsNotChanged() throws Exception {
        Path folder = entry("1", "old");
        Files.createDirectories(project.resolve(".qupath-sam"));
        Files.writeString(project.resolve(ProjectBackup.FOLDER), "a file is in the way");
        UncheckedIOException failure = assertThrows(UncheckedIOException.class, () -> copy(folder, NOW));
        assertEquals(true, failure.getMessage().contains("so nothing is changed; make"), failure.getMessage());
    }
}
