"""What an estimate counts as done already."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tl_core.documents.manifest import Manifest
from tl_core.runs.store import folders
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


def test_a_former_run_on_a_network_that_is_no_longer_known_does_not_keep_others_from_an_estimate(
    pets: DatasetFolder, pets_run: RunFolder
) -> None:
    spec = pets_run.spec()
    known = estimated(spec, pets)
    former = RunFolder(pets_run.path.with_name("f" * 16))
    shutil.copytree(pets_run.path, former.path)
    former.write_spec(spec.model_copy(update={"backbone": "resnet99"}))
    assert estimated(spec, pets) == known


def test_an_estimate_reads_each_data_set_once_however_many_runs_there_are(
    pets: DatasetFolder, pets_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        other = DatasetFolder(pets.path.with_name(f"{number // 2:016}"))
        if not other.path.exists():
            shutil.copytree(pets.path, other.path)
        manifest = pets.manifest().model_copy(update={"content": f"{number:064}"})
        manifest.write(other.manifest_file)
        run = RunFolder(pets_run.path.with_name(f"{number:016}"))
        shutil.copytree(pets_run.path, run.path)
        run.write_spec(pets_run.spec().model_copy(update={"dataset": other.id}))
    read: list[Path] = []
    # As in a workspace with more data sets than are remembered.
    monkeypatch.setattr(folders, "_manifest", lambda file, *_: read.append(file) or Manifest.read(file))
    estimated(pets_run.spec(), pets)
    assert len([file for file in read if file.parent != pets.path]) == 3
