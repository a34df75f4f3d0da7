"""The API server: what is asked of it, what was seen of it, and who may act on it."""
