"""The bridge to QuPath's own code: the only place that knows paquo and jpype."""
