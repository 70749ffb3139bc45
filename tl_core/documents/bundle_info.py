"""bundle.json: what a program needs to know to use a bundle. The metrics are in the run's report and on the model card."""

from tl_core.documents.base import Document

NO_WEIGHTS = "none (random)"
"""Written instead of the name of a set of weights if training started from random weights."""


class BundleInfo(Document):
    """The content of bundle.json."""

    name: str
    """The name of the run as the user typed it: display text."""
    classes: tuple[str, ...]
    image_size: int
    """Side, in pixels, of the square that the whole picture is resized to, whatever its shape."""
    interpolation: str
    """The filter by Pillow's name: bilinear, bicubic, lanczos, nearest."""
    backbone: str
    weights: str
    """The name of the pretrained weights that training started from, or `NO_WEIGHTS`."""
    licence: str
    """The licence of the pretrained weights."""
    strategy: str
    seed: int
    """The seed of the run. The split of its data set is in split.json; without this file it can be computed again from the seed."""
    temperature: float
    """The temperature of the calibration (Guo et al. 2017); the logits of the graph are divided by it already."""
    threshold: float | None = None
    """An answer is sure where its likeliest class has this probability, above 0 and at most 1, or more; below it the answer is "not sure".
    None: nobody has chosen one.
    """
    embedding_size: int
    linear_on_pooled: bool
    """Whether the logits are one linear layer on the mean of `map`. Then the class weights times `map` are a heatmap."""
    created: float
    """When the bundle was made, seconds since the epoch."""
    versions: dict[str, str]
    """The versions of Graft and of the libraries that made the bundle."""
