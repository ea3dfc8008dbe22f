"""Models: what they take (`base`, `registry`), how files become networks (`load`, `weights`), how networks answer."""
