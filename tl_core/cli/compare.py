"""The command `compare`: which of several runs is better on the same pictures."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tl_core.cli import show
from tl_core.cli.parameters import Json
from tl_core.errors import NotFound, SpecError
from tl_core.serving.bundle_files import INFO

if TYPE_CHECKING:
    from tl_core.documents.judgements import ComparedRun, Comparison
    from tl_core.runs.comparing import Together
    from tl_core.runs.store.folders import RunFolder


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="The folders of runs that have ended well.")],
    *,
    json: Json = False,
) -> None:
    """Say which run is better, on the pictures that all of them were judged on and none learned from."""
    from tl_core.runs.comparing import together

    folders = [_opened(run) for run in runs]
    if len({folder.path.resolve() for folder in folders}) < max(2, len(folders)):
        raise SpecError("Name the folders of two different runs or more; each is compared with each other one.")
    found = together(folders)
    if len(found.tested) < 2:
        raise SpecError.of(f"{one.run.name!r} is not compared. {one.reason}" for one in found.left_out)
    if json:
        pairs = _pairs(folders, found)
        show.as_json(pairs[0] if len(pairs) == 1 else pairs)
    else:
        _tell(found)
    for one in found.left_out:
        show.aside(f"{one.run.name!r} is not compared with the others. {one.reason}")


def _opened(path: Path) -> RunFolder:
    from tl_core.runs.store.folders import RunFolder

    run = RunFolder(path.absolute())
    if run.exists:
        return run
    if path.suffix.lower() == ".zip" or (path / INFO).is_file():
        raise SpecError(
            f"{path} is a bundle, which does not hold the answers to the test pictures. Name the folder of the run."
        )
    raise NotFound(f"There is no run at {path}. Name the folder of a run, such as that of train --out.")


def _pairs(folders: list[RunFolder], found: Together) -> list[dict[str, Any]]:
    """One object for each pair of the runs, in the order in which they were given."""
    figures = dict(zip((run.path for run in found.runs), found.figures, strict=True))
    verdicts = dict(zip(combinations(figures, 2), found.comparisons, strict=True))
    reasons = {one.run.path: one.reason for one in found.left_out}
    return [
        _pair(figures[first.path], figures[second.path], verdicts[first.path, second.path], found)
        if first.path in figures and second.path in figures
        else _not_compared(first, second, reasons)
        for first, second in combinations(folders, 2)
    ]


def _pair(a: ComparedRun, b: ComparedRun, comparison: Comparison, found: Together) -> dict[str, Any]:
    said = comparison.model_dump(mode="json")
    sides = {"a": a.model_dump(mode="json"), "b": b.model_dump(mode="json")}
    return {**said, **sides, "leaked_images": found.leaked, "cautions": found.cautions()}


def _not_compared(first: RunFolder, second: RunFolder, reasons: dict[Path, str]) -> dict[str, Any]:
    sides = {side: {"run_dir": str(run.path), "name": run.name} for side, run in (("a", first), ("b", second))}
    return {"verdict": None, "reason": reasons.get(second.path) or reasons[first.path], **sides}


def _tell(found: Together) -> None:
    letters = [_letter(number) for number in range(len(found.runs))]
    show.table(
        ["", "run", "right", "95 %", "seconds", "MB"],
        [
            [
                letter,
                one.name,
                show.percent(one.accuracy),
                " to ".join(map(show.percent, one.interval)),
                "-" if one.seconds is None else f"{one.seconds:.1f}",
                "-" if one.megabytes is None else f"{one.megabytes:.1f}",
            ]
            for letter, one in zip(letters, found.figures, strict=True)
        ],
    )
    show.line(
        f"On the {len(found.pictures):,} test pictures that all of them were judged on and none learned from. Seconds are those of the whole run."
    )
    for (a, b), one in zip(combinations(letters, 2), found.comparisons, strict=True):
        low, high = one.interval
        show.line(
            f"{b} against {a}: {one.said}. {100 * one.difference:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f}), p = {one.p_value:.2g}; "
            f"the answers differ on {one.differ:,} pictures, of which only {a} has {one.only_a:,} right and only {b} {one.only_b:,}."
        )
    if len(letters) > 2:
        show.line("The p-values are corrected for so many pairs (Holm).")
    for caution in found.cautions():
        show.line(caution)


def _letter(number: int) -> str:
    """A to Z, then A1 to Z1."""
    return chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")
