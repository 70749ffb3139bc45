"""bundle.json: what a bundle needs to be used anywhere. No metrics: those are in the run's report."""

from __future__ import annotations

from tl_core.documents.base import Document

NO_WEIGHTS = "none (random)"
"""Stands where the name of a set of weights would, for a network that started from random ones."""


class BundleInfo(Document):
    name: str
    """Display text."""
    classes: tuple[str, ...]
    image_size: int
    """Pixels, the side of the square that the whole picture is squashed to."""
    interpolation: str
    """Pillow's name: bilinear, bicubic, lanczos, nearest."""
    backbone: str
    weights: str
    """Name of the set that training started from, or `NO_WEIGHTS`."""
    licence: str
    """Of the pretrained weights."""
    strategy: str
    seed: int
    """Of the run; with it, a split that Graft cut can be cut again."""
    temperature: float
    """Already divided into the logits of the graph."""
    embedding_size: int
    linear_on_pooled: bool
    """Whether the logits are one linear layer on the mean of `map`, so that class weights times `map` is a heatmap."""
    split_hashes: dict[str, str]
    """SHA-256 over the sorted content hashes of each split's images."""
    created: float
    versions: dict[str, str]
    """Of graft and the libraries that made it."""
