"""Objects that look like examples: a prototype in the embedding, candidates at the examples' scale, a threshold."""
