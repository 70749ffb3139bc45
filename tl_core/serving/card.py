"""MODEL_CARD.md: what a bundle is, what it was measured on and how to use it, for people. Knows documents, no files."""

from __future__ import annotations

import re
import time

from tl_core.documents.bundle_info import NO_WEIGHTS, BundleInfo
from tl_core.documents.report import Report

_SHOWN = 200
"""Classes that are listed by name."""


def model_card(info: BundleInfo, report: Report | None) -> str:
    """The Markdown text; without `report` it says that nothing was measured. Names that users typed are made harmless."""
    classes = ", ".join(plain(name) for name in info.classes[:_SHOWN])
    more = f" and {len(info.classes) - _SHOWN} more" if len(info.classes) > _SHOWN else ""
    made = time.strftime("%Y-%m-%d", time.gmtime(info.created))
    versions = ", ".join(f"{plain(name)} {plain(version)}" for name, version in sorted(info.versions.items()))
    return f"""# {plain(info.name)}

An image classifier for {len(info.classes)} classes, made with Graft on {made}.

Classes, in the order of the answers: {classes}{more}.

## How far to trust it

{_measured(report)}

It answers with one of its classes for every picture, also for one that shows none of them. What it was trained on, and by
whom it was labelled, decides what it can be used for.

## What is inside

- `model.onnx`: the whole network. Input `images`, uint8 (N, {info.image_size}, {info.image_size}, 3), RGB. Outputs: `logits` (N, {len(info.classes)}), already divided by
  the temperature {info.temperature:.4g}, so that their softmax gives probabilities; `embedding` (N, {info.embedding_size}); `map`, the last spatial features.
- `model.safetensors`: the tensors, named as in the library's network, before the temperature.
- `bundle.json`: classes, sizes and origin, for programs.

## How to use it

Turn the picture upright, scale the whole of it to {info.image_size} x {info.image_size} pixels ({plain(info.interpolation)}, Pillow), without cropping; larger than 1024
pixels on its longest side it is first scaled down to that. Normalisation is part of the graph.

```python
import json, numpy as np, onnxruntime
from PIL import Image, ImageOps

image = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("RGB")
image.thumbnail((1024, 1024))
pixels = np.asarray(image.resize(({info.image_size}, {info.image_size}), Image.Resampling.{info.interpolation.upper()}))[None]
(logits,) = onnxruntime.InferenceSession("model.onnx").run(["logits"], {{"images": pixels}})
print(json.load(open("bundle.json", encoding="utf-8"))["classes"][logits[0].argmax()])
```

## Where it comes from

Backbone `{plain(info.backbone)}` {_started(info)}, strategy `{plain(info.strategy)}`.
Made with {versions}.
"""


def _started(info: BundleInfo) -> str:
    if info.weights == NO_WEIGHTS:
        return "from random weights"
    return f"with the pretrained weights `{plain(info.weights)}` (licence of the weights: {plain(info.licence)})"


def _measured(report: Report | None) -> str:
    if report is None:
        return "It was not measured."
    test = report.test
    low, high = test.interval
    split = "that its maker set aside" if report.own_split else "that were set aside at random"
    lines = [
        f"**{test.accuracy:.1%} right** on {test.images} pictures it had never seen, {split} "
        f"(95 % interval {low:.1%} to {high:.1%}); macro F1 {test.macro_f1:.3f}.",
        f"It learned from {report.images.get('train', 0)} pictures, {report.images.get('val', 0)} more chose its settings.",
        "",
        "| class | precision | recall | F1 | pictures |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {plain(row.name)} | {row.precision:.2f} | {row.recall:.2f} | {row.f1:.2f} | {row.support} |"
        for row in test.per_class[:_SHOWN]
    ]
    return "\n".join(lines)


def plain(text: str, *, longest: int = 80) -> str:
    """Text that a user typed, on one line, with nothing left that Markdown or HTML would act on."""
    line = " ".join(text.split())
    shown = line if len(line) <= longest else f"{line[: longest - 1]}…"
    return re.sub(r"([\\`*_{}\[\]()#+!|<>&~])", r"\\\1", shown)
