"""Writes the model card of a bundle: what it is, how good it is and how to use it, as Markdown for people."""

from __future__ import annotations

import time

from tl_core.documents.bundle_info import NO_WEIGHTS, BundleInfo
from tl_core.documents.report import Report, record_again
from tl_core.evaluation.metrics import class_table, listed
from tl_core.markdown import code, literal
from tl_core.serving.bundle_files import BUNDLE_FILES, INFO, ONNX

_SHOWN = 200
"""The most classes that are listed by name."""


def model_card(info: BundleInfo, report: Report) -> str:
    """The Markdown text. Names that users typed are escaped."""
    classes = ", ".join(_plain(name) for name in info.classes[:_SHOWN])
    more = f" and {len(info.classes) - _SHOWN} more" if len(info.classes) > _SHOWN else ""
    made = time.strftime("%Y-%m-%d", time.gmtime(info.created))
    versions = ", ".join(code(f"{name} {version}") for name, version in sorted(info.versions.items()))
    return f"""# {_plain(info.name)}

An image classifier for {len(info.classes)} classes, made with Graft on {made}.

Classes, in the order of the answers: {classes}{more}.

## How far to trust it

{_measured(report)}
{_withheld(info, report)}
It answers with one of its classes for every picture, also for one that shows none of them. What it was trained on, and by
whom it was labelled, decides what it can be used for.

## What is inside

{_inside(info)}

## How to use it

Turn the picture upright, scale the whole of it to {info.image_size} x {info.image_size} pixels ({_plain(info.interpolation)}, Pillow), without cropping; larger than 1024
pixels on its longest side it is first scaled down to that. Normalisation is part of the graph.

```python
{in_python(info)}
```

## Where it comes from

Backbone {code(info.backbone)} {_started(info)}, strategy {code(info.strategy)}.
Made with {versions}.
"""


def in_python(info: BundleInfo) -> str:
    """Lines of Python that answer one picture with the files of the bundle, and with no package of Graft."""
    return f'''import json, numpy as np, onnxruntime
from PIL import Image, ImageOps

image = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("RGB")
image.thumbnail((1024, 1024))
pixels = np.asarray(image.resize(({info.image_size}, {info.image_size}), Image.Resampling.{info.interpolation.upper()}))[None]
(logits,) = onnxruntime.InferenceSession("{ONNX}").run(["logits"], {{"images": pixels}})
print(json.load(open("{INFO}", encoding="utf-8"))["classes"][logits[0].argmax()])'''


def _inside(info: BundleInfo) -> str:
    return "\n".join(
        f"- `{name}`: {row.title}. {row.details.format(info=info, classes=len(info.classes))}".rstrip()
        for name, row in BUNDLE_FILES.items()
    )


def _started(info: BundleInfo) -> str:
    if info.weights == NO_WEIGHTS:
        return "from random weights"
    return f"with the pretrained weights {code(info.weights)} (licence of the weights: {code(info.licence)})"


def _measured(report: Report) -> str:
    test = report.test
    low, high = test.interval
    split = "which its maker held out" if report.own_split else "held out at random"
    unseen = "" if report.leak or report.shown is None else " it had never seen"
    others = "".join(f"; {metric.title} {metric.write(value)}" for metric, value in listed(test))
    headings, classes = class_table(test)
    table = [headings, ["---"] * len(headings), *([_plain(name), *cells] for name, *cells in classes[:_SHOWN])]
    return "\n".join(
        [
            *_before_the_test(report),
            f"**{test.accuracy:.1%} right** on {test.images} test pictures{unseen}, {split} "
            f"(95 % interval {low:.1%} to {high:.1%}){others}.",
            *_leaked(report),
            _learned(report),
            "",
            *(f"| {' | '.join(cells)} |" for cells in table),
        ]
    )


def _withheld(info: BundleInfo, report: Report) -> str:
    """What the threshold of the bundle gives on the held-out pictures, as a paragraph; empty where it has none."""
    if info.threshold is None:
        return ""
    sure = [answer for answer in report.answers if answer.probability >= info.threshold]
    right = sum(answer.predicted == answer.truth for answer in sure)
    share = f", and {right / len(sure):.1%} of them are right" if sure else ""
    return (
        f'\nAn answer with a probability below {info.threshold:g} is to count as "not sure". On the test pictures, {len(sure)} of '
        f"{len(report.answers)} answers reach it{share}.\n"
    )


def _before_the_test(report: Report) -> list[str]:
    """The headline, where it is not the test's, or what is said in its place."""
    found = report.shown
    if found is None:
        again = record_again([_plain(name) for name in report.one_moment])
        return [f"**{again}.** Until then no accuracy can be trusted. The pictures of that moment alone gave:", ""]
    if found is report.test:
        return []
    low, high = found.interval
    return [
        f"**Cross-validated: {found.accuracy:.1%} right** on all {found.images} pictures, each answered once by a last layer (head) that had "
        f"not learned from it (95 % interval {low:.1%} to {high:.1%}). The test pictures alone say less:",
        "",
    ]


def _leaked(report: Report) -> list[str]:
    """What the test gave without pictures that show what was learned from, where it has any."""
    if report.leak is None:
        return []
    said, found = f"{report.leak.images} of these show what it learned from as well", report.leak.without
    if found is None:
        return [f"{said}, and there are no others, so this says little."]
    low, high = found.interval
    return [
        f"{said}, so they say little. Without them: **{found.accuracy:.1%} right** on {found.images} pictures "
        f"(95 % interval {low:.1%} to {high:.1%})."
    ]


def _learned(report: Report) -> str:
    train, val = report.images.get("train", 0), report.images.get("val", 0)
    if report.val_out_of_fold:
        return f"It learned from {train + val} pictures; cross-validation over them chose its settings."
    return f"It learned from {train} pictures, {val} more chose its settings."


def _plain(text: str) -> str:
    return literal(text, longest=80)
