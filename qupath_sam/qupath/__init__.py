"""What is QuPath's and needs no JVM: annotations, GeoJSON, pictures, and where QuPath looks for scripts."""
