"""Bundles and what answers with them. Knows no training."""
