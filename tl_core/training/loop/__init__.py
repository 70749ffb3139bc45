"""Training by gradient steps: inputs, steps, epochs, the range test, and numbers of each stage."""
