"""The stages of a training run, from pictures to bundle and report."""
