"""Training by gradient steps: the loop, its steps, what a step reads."""
