"""Writes the model card of a bundle: what it is, how good it is and how to use it, as Markdown for people.

What is said of the run are the statements; here they are only laid out.
"""

import time
from collections.abc import Iterable
from dataclasses import replace

from tl_core.documents.bundle_info import BundleInfo
from tl_core.evaluation.metrics import class_table
from tl_core.markdown import escaped, literal
from tl_core.serving.bundle_files import BUNDLE_FILES, INFO, ONNX
from tl_core.statements import Source, Statement, statements

_SHOWN = 200
"""The most classes that are listed by name."""


def model_card(source: Source, info: BundleInfo) -> str:
    """The Markdown text about the run of `source`, whose bundle has `info`. Names that users typed are escaped."""
    source = replace(source, info=info)
    classes = ", ".join(_plain(name) for name in info.classes[:_SHOWN])
    more = f" and {len(info.classes) - _SHOWN} more" if len(info.classes) > _SHOWN else ""
    made = time.strftime("%Y-%m-%d", time.gmtime(info.created))
    headings, rows = class_table(source.report.test)
    table = [headings, ["---"] * len(headings), *([_plain(name), *cells] for name, *cells in rows[:_SHOWN])]
    inside = (
        f"- `{name}`: {row.title}. {row.details.format(info=info, classes=len(info.classes))}".rstrip()
        for name, row in BUNDLE_FILES.items()
    )
    return f"""# {_plain(info.name)}

An image classifier for {len(info.classes)} classes, made with Graft on {made}.

Classes, in the order of the answers: {classes}{more}.

## How far to trust it

{_listed(statements(source, "result"))}

{_lines(f"| {' | '.join(cells)} |" for cells in table)}

## What it cannot do

{_listed(statements(source, "limit"))}

What it was trained on, and by whom that was labelled, decides what it can be used for.

## What is inside

{_lines(inside)}

## How to use it

Turn the picture upright, scale the whole of it to {info.image_size} x {info.image_size} pixels ({_plain(info.interpolation)}, Pillow), without cropping; larger than 1024
pixels on its longest side it is first scaled down to that. Normalisation is part of the graph.

```python
{in_python(info)}
```

## How it was made

{_listed([*statements(source, "making"), *statements(source, "origin")])}
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


def _listed(rows: Iterable[Statement]) -> str:
    return _lines(f"- **{escaped(row.title)}.** {escaped(row.text)}".rstrip() for row in rows)


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _plain(text: str) -> str:
    return literal(text, longest=80)
