"""Who runs next, and who owns which block of the cache. Torch-free, pure decisions."""
