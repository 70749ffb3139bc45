"""Groups are found once, where the pictures are read, and through the cache of training; labels are judged by heads that have not seen the picture."""

import shutil
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import PictureFolder, lend
from tests.data.work import finish, scene
from tests.runs.conftest import ended, read
from tests.runs.executors import InProcess, by
from tl_core.data.checks import findings
from tl_core.data.pixel_arrays import origin
from tl_core.documents.events import Event, Progress, StageStarted
from tl_core.documents.manifest import ImageEntry, Manifest
from tl_core.errors import WeightsUnavailable
from tl_core.runs import grouping
from tl_core.runs.ingest_job import ingest_job
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import Store, Workspace
from tl_core.runs.train_job import train_job

IN_PLACE = InProcess({"ingest": ingest_job, "train": train_job})


@pytest.fixture(autouse=True)
def looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_FIND_GROUPS", "true")


def test_a_copy_is_found_and_the_run_afterwards_looks_at_no_picture_again(
    workspace: Workspace, store: Path, exported: Callable[[int], Path], tmp_path: Path
) -> None:
    lend(exported(224), store / "cache")
    source = tmp_path / "pictures"
    for number in range(12):
        path = source / ("cat" if number < 6 else "dog") / f"{number % 6:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        scene(number).save(path)
    shutil.copy(source / "cat" / "000.jpg", source / "cat" / "again.jpg")
    with (source / "cat" / "again.jpg").open("ab") as file:
        file.write(b"other bytes")
    data = read(workspace, source, IN_PLACE)
    manifest = data.manifest()
    assert manifest.grouped
    assert [image.name for image in manifest.images if image.group == 0] == ["cat/000.jpg", "cat/again.jpg"]
    assert [image.group for image in manifest.images].count(None) == 11
    assert [finding.files for finding in findings(manifest) if finding.kind == "near_copy"] == [
        ("cat/000.jpg", "cat/again.jpg")
    ]
    stages = [event.stage for event in data.events()[0] if isinstance(event, StageStarted)]
    assert stages[-4:] == ["preparing", "features", "groups", "training"], "labels are judged last"

    def kept() -> dict[Path, int]:
        return {path: path.stat().st_ino for path in (store / "cache").glob("[pf]*/*")}

    before = kept()
    run = by(IN_PLACE, jobs.submit_training, workspace, data)
    assert ended(run) == "succeeded"
    assert kept() == before
    assert not [e for e in run.events()[0] if isinstance(e, Progress) and e.stage in ("preparing", "features")]


def test_the_same_pictures_under_the_same_names_are_compared_once(
    workspace: Workspace,
    picture_folder: PictureFolder,
    store: Path,
    exported: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lend(exported(224), store / "cache")
    dataset = read(workspace, picture_folder(), IN_PLACE, groups=False)
    compared: list[tuple[str, ...]] = []

    def find(
        images: Sequence[ImageEntry], features: object, pixels: object
    ) -> Generator[Event, None, NDArray[np.intp]]:
        compared.append(tuple(image.name for image in images))
        yield Progress(stage="groups", done=len(images), total=len(images))
        return np.array([0, 0, *[-1] * (len(images) - 2)])

    def grouped(manifest: Manifest) -> tuple[list[Event], Manifest]:
        return finish(grouping.with_groups(dataset.path, manifest, judged=False))

    monkeypatch.setattr("tl_core.data.groups.find_groups", find)
    manifest = dataset.manifest()
    _, found = grouped(manifest)
    assert found.grouped
    assert [image.group for image in found.images] == [0, 0, *[None] * (len(manifest.images) - 2)]
    assert grouped(manifest) == ([], found)
    assert len(compared) == 1

    for changed in ({"name": "cat/copy of 1.jpg"}, {"label": 1}):
        first = manifest.images[0].model_copy(update=changed)
        grouped(manifest.model_copy(update={"images": (first, *manifest.images[1:])}))
    assert len(compared) == 3, "how well pictures of different classes fit is part of the search"

    Store.default().cache.forget(origin(manifest))
    grouped(manifest)
    assert len(compared) == 4


def test_who_does_not_want_groups_gets_none(workspace: Workspace, picture_folder: PictureFolder) -> None:
    data = read(workspace, picture_folder(), IN_PLACE, groups=False)
    assert not data.manifest().grouped
    assert not (Store.default().cache.root / "pixels").exists()


@pytest.mark.parametrize("why", ["memory", "weights"])
def test_where_they_cannot_be_looked_for_the_data_set_comes_without_and_says_why(
    why: str, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "memory":
        monkeypatch.setattr(grouping, "available_mb", lambda device: 300.0)
    else:
        monkeypatch.setattr(grouping, "available", Mock(side_effect=WeightsUnavailable("no weights.")))
    manifest = dataset.manifest()
    events, found = finish(grouping.with_groups(dataset.path, manifest))
    assert found == manifest
    (notice,) = events
    assert "were not looked for" in notice.message
    assert ("300 MB" if why == "memory" else "no weights") in notice.message


def _labelled(labels: list[int]) -> tuple[Manifest, NDArray[np.float32]]:
    """Pictures of two classes by turns, whose features show it, with these labels."""
    images = tuple(
        ImageEntry(sha256=f"{row:064x}", label=label, name=f"{row}.jpg", file="", width=9, height=9)
        for row, label in enumerate(labels)
    )
    noise = np.random.default_rng(0).normal(scale=0.3, size=(len(labels), 8))
    features = (noise + 2 * np.eye(8)[np.arange(len(labels)) % 2]).astype(np.float32)
    return Manifest(name="m", created=0, source="s", classes=("cat", "dog"), images=images), features


def test_a_picture_with_a_wrong_label_is_suspected_and_the_others_are_not() -> None:
    labels = [row % 2 for row in range(80)]
    labels[6] = 1
    manifest, features = _labelled(labels)
    _, found = finish(grouping.with_suspicions(manifest, features))
    assert [row for row, image in enumerate(found.images) if image.suspicion] == [6]
    suspicion = found.images[6].suspicion
    assert (suspicion.label, suspicion.suggested) == ("dog", "cat")
    assert suspicion.label_probability < 0.03 < 0.9 < suspicion.suggested_probability
    (told,) = [finding for finding in findings(found) if finding.kind == "suspect_label"]
    assert (told.files, told.move_to) == (("6.jpg",), ("cat",))
    assert found.model_copy(update={"images": manifest.images}) == manifest


@pytest.mark.parametrize("labels", [[0] * 20, [0] * 18 + [1] * 2], ids=["one class", "too few"])
def test_what_no_run_can_start_on_is_not_judged(labels: list[int]) -> None:
    manifest, features = _labelled(labels)
    assert finish(grouping.with_suspicions(manifest, features)) == ([], manifest)


def test_so_many_pictures_and_classes_that_it_takes_long_are_not_judged_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grouping, "MOST", 2 * 39)
    manifest, features = _labelled([row % 2 for row in range(40)])
    (notice,), found = finish(grouping.with_suspicions(manifest, features))
    assert "on request" in notice.message
    assert found == manifest
