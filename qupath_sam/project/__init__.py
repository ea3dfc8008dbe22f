"""QuPath projects without QuPath's window: read, refine, segment, and write without losing anything.

Only `qupath_sam.project.paquo_bridge` imports paquo and jpype; it runs in a process of its own
(`qupath_sam.project.worker`). Only `qupath_sam.project.store` replaces files of a project.
"""
