"""Bundles, and the predictor that answers with them."""
