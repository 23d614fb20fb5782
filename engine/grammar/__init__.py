"""What the text must be: grammars to token masks. Torch-free; runs in the engine process."""
