"""QuPath projects without QuPath's window: read, refine, segment, and write without losing anything.

Only `qupath_sam.project.jvm.bridge` imports paquo and jpype; it runs in a process of its own
(`qupath_sam.project.jvm.worker`). Only `qupath_sam.project.store.commit` replaces files of a project.
"""
