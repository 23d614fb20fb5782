"""From a model's files to logits: what the files say, the weights, and one decoder for them all."""
