"""The paged key-value cache and the attention that reads it."""
