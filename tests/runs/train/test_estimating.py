"""What an estimate counts as done already."""

from __future__ import annotations

import shutil
from pathlib import Path

from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store, new_token
from tl_core.runs.train.estimating import estimated


def test_an_estimate_does_not_tell_that_somebody_else_has_the_same_pictures(
    store: Path, pets: DatasetFolder, pets_run: RunFolder
) -> None:
    own = estimated(pets_run.spec(), pets)
    other = Store.default().workspace(new_token())
    theirs = DatasetFolder(other.path / "datasets" / pets.id)
    shutil.copytree(pets.path, theirs.path)
    spec = pets_run.spec().model_copy(update={"workspace": other.token})
    told = estimated(spec, theirs)
    assert told.high > own.high

    run = RunFolder(other.path / "runs" / pets_run.id)
    shutil.copytree(pets_run.path, run.path)
    run.write_spec(spec)
    assert estimated(spec, theirs) == own, "the workspace has computed it itself"
    shutil.rmtree(run.path)

    for kind in ("pixels", "features"):
        shutil.rmtree(store / "cache" / kind)
    assert estimated(spec, theirs) == told
    assert estimated(pets_run.spec(), pets) == told
