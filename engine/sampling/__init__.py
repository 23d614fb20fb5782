"""From logits to tokens: the pipeline of stages, the draw, and the reported log-probabilities."""
