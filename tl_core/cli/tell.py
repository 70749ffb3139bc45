"""`story`: one HTML file that tells whoever was not there what a run learned, how good it is and what it cannot do."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from tl_core.cli import show
from tl_core.cli.parameters import Json
from tl_core.errors import NotEmpty, NotFound, SpecError
from tl_core.story.pictures import MISTAKES, MOST_PICKED, RIGHT


def story(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run that has ended well.")],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="The file to write; it must not be there yet.")],
    mistakes: Annotated[
        int, typer.Option(metavar="N", help="How many mistakes are shown, those that it was surest of.")
    ] = MISTAKES,
    right: Annotated[int, typer.Option(metavar="N", help="How many right answers are shown, taken evenly.")] = RIGHT,
    picture: Annotated[
        list[int] | None,
        typer.Option(
            metavar="ROW",
            help="Show the answer to this test picture instead, by its row in the data set, as report.json has it; once for each picture.",
        ),
    ] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Write the names of files, folders and groups into it, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Tell what a run learned, how good it is and what it cannot do, in one HTML file of at most 3 MB."""
    from tl_core.disk import write_atomically
    from tl_core.runs.finished import source_of
    from tl_core.runs.store.folders import RunFolder
    from tl_core.story.html import story as told
    from tl_core.story.pictures import proposed

    if out.suffix.lower() not in (".html", ".htm") or not out.absolute().parent.is_dir():
        raise NotFound(f"{out} cannot be written: name an HTML file in a folder that exists, such as story.html.")
    if out.exists():
        raise NotEmpty(f"{out} is there already. Name a file that is not there yet.")
    if min(mistakes, right) < 0:
        raise SpecError(f"{mistakes} mistakes and {right} right answers cannot be shown. Name numbers from 0 on.")
    source = replace(source_of(RunFolder(run.absolute())), names=names)
    wanted = proposed(source.report, mistakes=mistakes, right=right)
    if picture:
        by_row = {answer.row: answer for answer in source.report.answers}
        unknown = [row for row in picture if row not in by_row]
        if unknown:
            raise SpecError(
                f"There is no test picture in row {', '.join(map(str, unknown))}: the run has {len(by_row):,} test pictures, and "
                f"`answers` of its report.json has the row of each, such as {next(iter(by_row))}."
            )
        wanted = [by_row[row] for row in dict.fromkeys(picture)]
    if len(wanted) > MOST_PICKED:
        raise SpecError(f"{len(wanted):,} answers are to be shown; a story shows {MOST_PICKED} at most.")
    made = told(source, wanted)
    write_atomically(out, made.html.encode())
    if json:
        show.as_json(
            {
                "file": str(out.absolute()),
                "bytes": made.bytes,
                "rows": [answer.row for answer in made.answers],
                "left_out": made.left_out,
                "pictures": source.manifest is not None,
            }
        )
        return
    wrong = sum(answer.truth != answer.predicted for answer in made.answers)
    shown = f"{wrong:,} mistakes and {len(made.answers) - wrong:,} right answers as pictures"
    show.line(f"{out}: {-(-made.bytes // 1000):,} kB, {shown}.")
    if source.manifest is None:
        show.line("Its data set is not in this store any more, so the story has no pictures, and says so.")
    elif made.left_out:
        show.line(
            f"{made.left_out:,} more were to be shown: their pictures are gone, or the file would be larger than 3 MB."
        )
