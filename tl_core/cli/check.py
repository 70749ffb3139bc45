"""`check`: what a folder, zip or sample would give, and what the checks find in it."""

from __future__ import annotations

import tempfile
from itertools import zip_longest
from pathlib import Path

from tl_core.cli import show
from tl_core.cli.parameters import CheckedClasses, Data, Json
from tl_core.documents.manifest import SPLITS

MOST_FILES = 20
"""Files that the terminal lists for one finding; JSON has them all."""
_BLOCKED = "No classifier can be trained on this yet."


def check(data: Data, *, classes: CheckedClasses = "first", json: Json = False) -> None:
    """Say what would be taken, what refused and why, and what would make it better. Keeps nothing."""
    from tl_core.data.checks import findings
    from tl_core.data.ingest import read
    from tl_core.data.sources import source_of
    from tl_core.data.split import DEFAULT_SEED, assign, split_counts

    with tempfile.TemporaryDirectory(prefix="graft-check-") as staging, show.Bars() as bars:
        manifest = bars.run(read(source_of(data, classes), staging=Path(staging)))
    counts = split_counts(manifest, assign(manifest, DEFAULT_SEED))
    found = findings(manifest)
    if json:
        show.as_json(
            {
                "classes": counts,
                "images": len(manifest.images),
                "refused": [refusal.model_dump() for refusal in manifest.refused],
                "passed_over": manifest.passed_over,
                "findings": [finding.model_dump() for finding in found],
            }
        )
        for finding in found:
            if finding.stops:
                show.aside(f"{_BLOCKED} {finding.message}")
        return
    show.table(["class", *SPLITS], [[name, *map(str, parts.values())] for name, parts in counts.items()])
    show.line(f"{len(manifest.images):,} pictures in {len(counts)} classes would be taken.")
    for finding in found:
        show.line(f"{_BLOCKED} {finding.message}" if finding.stops else finding.message)
        for file, reason in list(zip_longest(finding.files, finding.reasons))[:MOST_FILES]:
            show.line(f"  {file}: {reason}" if reason else f"  {file}")
        if len(finding.files) > MOST_FILES:
            show.line(f"  and {len(finding.files) - MOST_FILES:,} more; check --json names all of them.")
