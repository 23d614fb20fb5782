"""How the embedded model is trained: corpus in, model files out. No server code uses it."""
