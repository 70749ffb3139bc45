"""`slices`: on which of its pictures a run fails more often than chance explains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tl_core.cli import show
from tl_core.cli.parameters import Json

_LISTED = 10
"""Rows of the table; all slices are in the JSON."""
_JUDGED_BY = {
    "cross_validated": "the cross-validated answers to all {images:,} pictures",
    "test": "the answers to the {images:,} test pictures",
}


def slices(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run that has ended well.")],
    *,
    json: Json = False,
) -> None:
    """Say on which of its pictures a run fails: dark or small ones, a folder, a group, pictures that look alike."""
    from tl_core.runs.store.folders import RunFolder
    from tl_core.runs.tasks.slices import run_slices
    from tl_core.runs.tasks.subject import require_ended

    folder = RunFolder(run.absolute())
    require_ended(folder)
    with show.Bars() as bars:
        found = bars.run(run_slices(folder))
    findings = found.findings
    if json:
        listed = [
            one.model_dump(mode="json", exclude={"answers"})
            | {"finding": one in findings, "rows": [answer.row for answer in one.answers]}
            for one in found.slices
        ]
        show.as_json(found.model_dump(mode="json", include={"judged_by", "images", "accuracy"}) | {"slices": listed})
        return
    looked_at = f"{len(found.slices)} kinds (slices) were looked at"
    if findings:
        show.line(
            f"It fails more often than chance explains on {len(findings)} of the {len(found.slices)} kinds of pictures (slices) looked at."
        )
    else:
        show.line(f"No kind of picture fails more often than chance explains; {looked_at}.")
    show.table(
        ["finding", "kind", "pictures", "number", "right", "95 %", "elsewhere", "p"],
        [
            [
                "yes" if one in findings else "",
                one.kind,
                f"{one.name}: {one.detail}" if one.detail else one.name,
                str(one.images),
                show.percent(one.accuracy),
                f"{show.percent(one.interval[0])} to {show.percent(one.interval[1])}",
                show.percent(one.elsewhere),
                f"{one.p_value:.4f}",
            ]
            for one in (*findings, *(other for other in found.slices if other not in findings))[:_LISTED]
        ],
    )
    show.line(
        f"Judged by {_JUDGED_BY[found.judged_by].format(images=found.images)}, {show.percent(found.accuracy)} right. Pictures are compared with "
        "others of their class; p is corrected for all slices."
    )
