"""The HTTP side: two dialects over one engine. Torch-free; knows only the engine's public face."""
