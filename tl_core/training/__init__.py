"""Strategies, cached features, the fitted head, the training loop. Knows no bundle and no report."""
