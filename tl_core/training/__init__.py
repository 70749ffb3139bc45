"""Training: strategies, kept outputs of frozen stages, the head, the loop of gradient steps, and how fast all that is."""
