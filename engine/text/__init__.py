"""Between text and token ids, both ways. Torch-free; runs in the server process."""
