"""What `qupath-sam bench` measures, a module for each command."""
