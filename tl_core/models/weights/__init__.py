"""Pretrained weights: where they are, download, reading."""
