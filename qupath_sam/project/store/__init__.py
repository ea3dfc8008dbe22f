"""How files of a project are replaced: locked, backed up, in one step, and undone."""
