"""Pretrained networks: which there are, where their weights come from, how to build and export them. Knows no training."""
