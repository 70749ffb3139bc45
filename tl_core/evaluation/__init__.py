"""Measures how good answers are: arrays in, documents out, no network and no file."""
