"""The table of the files in a bundle.

A new file is one row here and one line in `runs.train.deliver`, which writes it beside the model card. The zip, the checks
of a stranger's zip, the model card and the page follow the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass

FOLDER = "bundle"
"""The folder of a run that holds its bundle."""
INFO = "bundle.json"
MODEL_CARD = "MODEL_CARD.md"
ONNX = "model.onnx"
TENSORS = "model.safetensors"
SPLIT = "split.json"


@dataclass(frozen=True, kw_only=True)
class BundleFile:
    title: str
    """What it is, in a few words."""
    details: str = ""
    """Further sentences for the model card; `{info}` stands for the `BundleInfo`, `{classes}` for the number of classes."""
    most_bytes: int
    """The largest size, in bytes, that is read."""
    required: bool = False
    """Whether a bundle without it is refused; `bundle.write_bundle` writes these files."""
    compressed: bool = False
    """Whether it is made smaller in the zip: text shrinks, weights do not."""


BUNDLE_FILES: Mapping[str, BundleFile] = {
    INFO: BundleFile(
        title="classes, sizes and origin, for programs", most_bytes=4_000_000, required=True, compressed=True
    ),
    MODEL_CARD: BundleFile(
        title="what it is, how good it is and how to use it, for people",
        most_bytes=4_000_000,
        compressed=True,
    ),
    SPLIT: BundleFile(
        title="which pictures it learned from and was judged on, for programs",
        details="Pictures are named by the SHA-256 of their bytes only; those with the same number show the same thing.",
        required=True,
        most_bytes=100_000_000,  # a million pictures
        compressed=True,
    ),
    ONNX: BundleFile(
        title="the whole network as ONNX",
        details=(
            "Input `images`, uint8 (N, {info.image_size}, {info.image_size}, 3), RGB. Outputs: `logits` (N, {classes}), already "
            "divided by the temperature {info.temperature:.4g}, so that their softmax gives probabilities; `embedding` "
            "(N, {info.embedding_size}); `map`, the last spatial features."
        ),
        required=True,
        most_bytes=2_000_000_000,  # an ONNX file is one protobuf message, which ends at 2 GiB
    ),
    TENSORS: BundleFile(
        title="its weights as safetensors",
        details="They are named as in the library's network, and not divided by the temperature.",
        required=True,
        most_bytes=2_000_000_000,
    ),
}
"""By name, in the order of the zip."""
