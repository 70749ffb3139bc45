"""`check`: what a folder, zip or sample would give, what the checks find in it, and a copy in which that is mended."""

from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import typer

from tl_core import settings
from tl_core.cli import printing
from tl_core.cli.parameters import CheckedClasses, Data, Groups, Json
from tl_core.data.sources import source_of
from tl_core.disk import PassingFolder
from tl_core.documents.manifest import Remedies
from tl_core.documents.spec import ClassesFrom
from tl_core.errors import SpecError
from tl_core.runs.store.job_folder import free_folder

Features = Annotated[
    bool,
    typer.Option(
        "--features/--no-features",
        help="Look for near-copies, bursts, augmented copies and wrong labels, with the embedded backbone; it looks at every picture once.",
    ),
]
MOST_FILES = 20
"""Files that the terminal lists for one finding; JSON has them all."""
_BLOCKED = "No classifier can be trained on this yet."


def check(
    data: Data,
    *,
    apply: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A JSON file of changes (remedies): with --out, a copy of DATA is written in which they are made.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of that copy, empty or not there yet.")
    ] = None,
    classes: CheckedClasses = "first",
    groups: Groups = None,
    features: Features = True,
    json: Json = False,
) -> None:
    """Say what would be taken, what refused and why, and what would make it better.

    Without --apply, nothing is kept but what training finds in the cache: what the embedded backbone saw in the pictures.
    """
    if apply is not None and groups is not None:
        raise SpecError(
            "--groups is of no use with --apply. Put the CSV beside the folders of the classes as groups.csv: the copy has it, too."
        )
    if apply is not None and out is not None:
        _apply(apply, data, out, classes, json=json)
    elif apply is not None or out is not None:
        raise SpecError(
            "--apply FILE says what to change and --out DIR where the copy goes: give both, or none of them."
        )
    else:
        _check(data, classes, groups, features=features, json=json)


def _apply(file: Path, data: str, out: Path, classes: ClassesFrom, *, json: bool) -> None:
    """Write the copy of `data` that the remedies in `file` ask for to `out`, and say what was done."""
    from tl_core.data import given_groups, remedying, sources
    from tl_core.data.ingest import source_files

    remedies = Remedies.read(file)
    source, folder = source_of(data, classes), free_folder(out)
    if source.source_kind == "folder" and Path(source.source).resolve() in (
        folder.resolve(),
        *folder.resolve().parents,
    ):
        raise SpecError(f"{folder} lies in the folder that is copied. Name one outside of it.")
    with PassingFolder() as staging, printing.Bars() as bars:
        files = bars.run(source_files(source, Path(staging) / "unpacked")).files
        layout = sources.layout_of(files, classes)
        plan = remedying.planned(files, layout, remedies)
        parts_of = {each.path: each.parts for each in files}
        moved = sum(parts_of[path] != parts for path, parts in plan)
        groups = given_groups.beside_pictures(files, layout.items)
        if groups and moved:
            renamed = Path(staging) / given_groups.NAME
            renamed.write_bytes(given_groups.with_paths(groups, layout.items, dict(plan)))
            plan = [(renamed if path == groups else path, parts) for path, parts in plan]
        remedying.write_copy(plan, folder)
    if json:
        printing.as_json({"out": str(folder), "files": len(plan), "left_out": len(files) - len(plan), "moved": moved})
    else:
        printing.line(
            f"{len(plan):,} files are in {folder}; {len(files) - len(plan):,} are left out, and {moved:,} are moved to another class."
        )


def _check(data: str, classes: ClassesFrom, groups: Path | None, *, features: bool, json: bool) -> None:
    from tl_core.data.checks import findings
    from tl_core.data.ingest import ingest
    from tl_core.data.split import DEFAULT_SEED, assign, split_counts
    from tl_core.runs.grouping import with_groups

    source = source_of(data, classes, groups=groups)
    with PassingFolder() as place, printing.Bars() as bars:
        staging, copies = Path(place) / "staging", Path(place) / "data"
        if features and settings.current().find_groups:
            complete = partial(with_groups, copies)
            manifest = bars.run(ingest(source, copies, staging=staging, complete=complete))
        else:
            manifest = bars.run(ingest(source, staging=staging))
    counts = split_counts(manifest, assign(manifest, DEFAULT_SEED))
    problems = findings(manifest)
    if json:
        printing.as_json(
            {
                "classes": counts,
                "images": len(manifest.images),
                "refused": [refusal.model_dump() for refusal in manifest.refused],
                "passed_over": manifest.passed_over,
                "groups": len({image.group for image in manifest.images} - {None}) if manifest.grouped else None,
                "given_groups": len({image.given_group for image in manifest.images} - {None}),
                "findings": [finding.model_dump() for finding in problems],
            }
        )
        for finding in problems:
            if finding.stops:
                printing.aside(f"{_BLOCKED} {finding.message}")
        return
    printing.table(
        ["class", "training", "validation", "test"],
        [[name, *map(str, parts.values())] for name, parts in counts.items()],
    )
    printing.line(f"{len(manifest.images):,} pictures in {len(counts)} classes would be taken.")
    for finding in problems:
        printing.line(f"{_BLOCKED} {finding.message}" if finding.stops else finding.message)
        for file, reason in list(zip_longest(finding.files, finding.reasons))[:MOST_FILES]:
            printing.line(f"  {file}: {reason}" if reason else f"  {file}")
        if len(finding.files) > MOST_FILES:
            printing.line(f"  and {len(finding.files) - MOST_FILES:,} more; check --json names all of them.")
