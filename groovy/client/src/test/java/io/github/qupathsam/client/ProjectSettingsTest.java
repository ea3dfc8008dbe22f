package io.github.qupathsam.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFileAttributeView;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ProjectSettingsTest {
    @TempDir
    Path folder;

    @Test
    void aProjectKeepsItsModel() throws Exception {
        Path project = folder.resolve("project.qpproj");
        assertEquals(Map.of(), ProjectSettings.of(null));
        assertEquals(Map.of(), ProjectSettings.of(project));
        ProjectSettings.saveModel(project, " sam2.1_tiny ");
        assertEquals(Map.of("model", "sam2.1_tiny"), ProjectSettings.of(project));
        try (var files = Files.list(folder)) {
            assertEquals(List.of(folder.resolve("sam.properties")), files.toList());
        }
        ProjectSettings.saveModel(project, "");
        assertEquals(Map.of(), ProjectSettings.of(project));
    }

    @Test
    void whatElseStandsThereStays() throws Exception {
        Files.writeString(folder.resolve("sam.properties"), "# ours\nmodel=one\nlater=kept\n");
        ProjectSettings.saveModel(folder.resolve("project.qpproj"), "two");
        assertEquals("# ours\nlater=kept\nmodel=two\n".lines().sorted().toList(), Files.readAllLines(folder.resolve("sam.properties")).stream().sorted().toList());
    }

    /** In a project on a shared disk one person's choice made every script of the others fail: they could not read it. */
    @Test
    void whoMayReadTheProjectMayReadItsSettings() throws Exception {
        Path other = Files.createFile(folder.resolve("project.qpproj"));
        ProjectSettings.saveModel(other, "one");
        PosixFileAttributeView view = Files.getFileAttributeView(other, PosixFileAttributeView.class);
        assumeTrue(view != null, "files have no POSIX permissions here");
        assertEquals(Files.getPosixFilePermissions(other), Files.getPosixFilePermissions(folder.resolve("sam.properties")));
    }

    @Test
    void whatCannotBeReadOrWrittenIsNamed() throws Exception {
        Files.writeString(folder.resolve("sam.properties"), "model=\\u00zz\n");
        var unreadable = assertThrows(IllegalArgumentException.class, () -> ProjectSettings.of(folder.resolve("project.qpproj")));
        assertTrue(unreadable.getMessage().endsWith("or delete it"), unreadable.getMessage());
        Path nowhere = folder.resolve("absent").resolve("project.qpproj");
        assertThrows(UncheckedIOException.class, () -> ProjectSettings.saveModel(nowhere, "two"));
        assertThrows(IllegalArgumentException.class, () -> ProjectSettings.saveModel(folder.resolve("project.qpproj"), "two"));
        assertEquals("model=\\u00zz\n", Files.readString(folder.resolve("sam.properties")), "what cannot be read is not overwritten");
    }
}
