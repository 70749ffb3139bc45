"""The command `explain`: a picture with the heat of a class over it."""

import io
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from tl_core import api
from tl_core.cli import show
from tl_core.cli.bundles import Run
from tl_core.cli.parameters import Json
from tl_core.errors import NotFound, UnknownName

_SIDE = 1024
"""Longest side of the picture that is written, pixels."""


def explain(
    run: Run,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="One picture.")],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE.png", help="The picture with its heat, to write.")],
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class", metavar="NAME", help="The class whose evidence is shown; without it, that of the answer."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show where in a picture the evidence for a class lies, in the last features of a run's network."""
    from tl_core.data import guarded
    from tl_core.data.pixels import read_bytes
    from tl_core.disk import appearing
    from tl_core.serving.explaining import gradient_evidence
    from tl_core.serving.heatmaps import heat, linear, margins, overlay, peak_of

    if out.is_dir() or out.suffix.lower() != ".png" or not out.absolute().parent.is_dir():
        raise NotFound(f"{out} cannot be written: name a PNG in a folder that exists, such as why.png.")
    if not image.is_file():
        raise NotFound(f"There is no picture {image}.")
    model = api.load(run)
    if class_name is not None and class_name not in model.classes:
        raise UnknownName.among("class", class_name, model.classes)
    made = guarded.shared().make_input(read_bytes(image), model.info.image_size, model.info.interpolation, shown=_SIDE)
    insight = model.insight(made.pixels)
    answer = model.ranked(insight.probabilities)
    wanted = answer["label"] if class_name is None else class_name
    index, exact = model.classes.index(wanted), linear(model.info)
    positions = insight.evidence[index] if exact else gradient_evidence(model.bundle, made.pixels, [index])[0]
    with Image.open(io.BytesIO(made.shown)) as shown:
        picture = shown.convert("RGB")
    hot = heat(positions, *picture.size, margins(model.info, len(positions)))
    with appearing(out, str(out)) as temporary:
        overlay(picture, hot).save(temporary, "PNG")
    peak = peak_of(hot)
    if json:
        show.as_json(
            {
                "file": str(image),
                **answer,
                "class": wanted,
                "peak": None if peak is None else {"x": round(peak.x, 4), "y": round(peak.y, 4)},
                "method": "class activation" if exact else "gradients",
                "out": str(out.absolute()),
            }
        )
        return
    show.line(f"{image}: {answer['label']} {show.percent(answer['probability'])}")
    show.line(
        f"No place speaks for {wanted} more than for the other classes."
        if peak is None
        else f"Most of the evidence for {wanted} lies {show.percent(round(peak.x, 2))} from the left and "
        f"{show.percent(round(peak.y, 2))} from the top; it is no proof of what the network looked at."
    )
    show.line(f"{out}: written")
