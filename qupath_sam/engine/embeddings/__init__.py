"""Embeddings: what names them, and where they are kept so that no window is encoded twice."""
