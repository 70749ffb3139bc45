"""Real data sets, read by real workers."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import until
from tests.runs.executors import KEEPING, InProcess, by
from tl_core.documents.events import Event, Progress, StageStarted
from tl_core.errors import InUse, NotEnoughImages, NotFound
from tl_core.runs.process import local
from tl_core.runs.process.executor import cancel
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import Workspace

Pictures = Callable[..., Path]


@pytest.fixture
def many_large(tmp_path: Path) -> Path:
    """Enough work for some seconds: copies of one large picture, told apart by bytes behind the picture's end."""
    drawn = io.BytesIO()
    Image.linear_gradient("L").resize((4000, 3000)).convert("RGB").save(drawn, "JPEG")
    for name in ("cat", "dog"):
        (tmp_path / "large" / name).mkdir(parents=True)
        for copy in range(60):
            (tmp_path / "large" / name / f"{copy:03}.jpg").write_bytes(drawn.getvalue() + f"{name}{copy}".encode())
    return tmp_path / "large"


def _status(dataset: DatasetFolder) -> str:
    list(jobs.follow(dataset))
    status = dataset.status()
    return f"failed: {status.failure.message}" if status.failure else status.state


def test_a_folder_becomes_a_data_set(workspace: Workspace, picture_folder: Pictures) -> None:
    source = picture_folder({"cat": 12, "dog": 10})
    (source / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff not much of a picture")
    dataset = jobs.submit_ingest(workspace, source_kind="folder", source=source, name="Pets")
    assert _status(dataset) == "succeeded"
    manifest = dataset.manifest()
    assert manifest.counts() == {"cat": 12, "dog": 10}
    assert [refusal.file for refusal in manifest.refused] == ["cat/broken.jpg"]
    for entry in manifest.images:
        assert dataset.image(entry).is_file()
        assert dataset.thumbnail(entry).is_file()
    assert not (dataset.path / "staging").exists()
    assert dataset.status().seconds["ingest"] > 0
    assert any(isinstance(event, StageStarted) for event in dataset.events()[0])
    assert len(list(source.glob("*/*"))) == 23
    assert workspace.datasets() == [dataset]


def test_an_upload_is_removed_once_it_was_read_and_a_folder_of_the_users_own_never(
    workspace: Workspace, picture_folder: Pictures
) -> None:
    source = picture_folder()
    upload = workspace.staging()
    zipped = Path(shutil.make_archive(str(upload / "photos"), "zip", source))
    dataset = jobs.submit_ingest(workspace, source_kind="zip", source=zipped, name="photos", remove_source=True)
    assert _status(dataset) == "succeeded"
    assert dataset.manifest().counts() == {"cat": 12, "dog": 12}
    assert not upload.exists()
    again = jobs.submit_ingest(workspace, source_kind="folder", source=source, name="own", remove_source=True)
    assert _status(again) == "succeeded"
    assert len(list(source.glob("*/*.jpg"))) == 24


def test_a_folder_without_pictures_fails_in_words_and_its_upload_goes(workspace: Workspace) -> None:
    upload = workspace.staging()
    (upload / "empty").mkdir()
    dataset = jobs.submit_ingest(
        workspace, source_kind="folder", source=upload / "empty", name="empty", remove_source=True
    )
    assert _status(dataset).startswith("failed: ")
    failure = dataset.status().failure
    assert failure is not None
    assert failure.exit_code == 2
    assert "Traceback" not in dataset.log()
    assert not upload.exists()


def test_an_ingest_that_is_killed_leaves_no_half_data_set_and_no_pictures(
    workspace: Workspace, many_large: Path
) -> None:
    dataset = jobs.submit_ingest(workspace, source_kind="folder", source=many_large, name="large")
    until(lambda: any(isinstance(event, Progress) for event in dataset.events()[0]))
    os.kill(local._workers[dataset.path].pid, signal.SIGKILL)
    until(lambda: not dataset.alive())
    assert dataset.status().state == "interrupted"
    assert not (dataset.path / "manifest.json").exists()
    until(lambda: not {"images", "thumbnails", "staging"} & {path.name for path in dataset.path.iterdir()})
    dataset.delete()
    assert workspace.datasets() == []


def test_what_it_left_is_removed_also_where_a_child_of_the_killed_worker_holds_the_lock_a_moment_longer(
    workspace: Workspace, picture_folder: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = jobs.submit_ingest(
        workspace, source_kind="folder", source=picture_folder({"cat": 3, "dog": 3}), name="Pets"
    )
    assert _status(dataset) == "succeeded"
    dataset.manifest_file.unlink()
    looks = [True, True]
    monkeypatch.setattr(DatasetFolder, "alive", lambda _: bool(looks and looks.pop()))
    local._reap(dataset, subprocess.Popen(["true"], start_new_session=True))
    assert not {"images", "thumbnails"} & {path.name for path in dataset.path.iterdir()}


def test_an_ingest_can_be_cancelled(workspace: Workspace, many_large: Path) -> None:
    dataset = jobs.submit_ingest(workspace, source_kind="folder", source=many_large, name="large")
    until(lambda: any(isinstance(event, Progress) for event in dataset.events()[0]))
    cancel(dataset)
    assert not dataset.alive()
    assert dataset.status().state == "cancelled"


def test_a_data_set_is_extended_by_an_upload_and_then_stands_alone(
    workspace: Workspace, picture_folder: Pictures
) -> None:
    old = jobs.submit_ingest(workspace, source_kind="folder", source=picture_folder({"cat": 12, "dog": 3}), name="Pets")
    assert _status(old) == "succeeded"
    upload = workspace.staging()
    more = picture_folder({"cat": 12, "dog": 12, "fox": 5}, root=upload / "folder")
    new = jobs.submit_ingest(
        workspace, source_kind="folder", source=more, name=old.name, remove_source=True, extends=old
    )
    assert _status(new) == "succeeded"
    assert not upload.exists()
    assert new.manifest().counts() == {"cat": 12, "dog": 12, "fox": 5}
    assert (old.name, new.name) == ("Pets", "Pets, 14 more")
    assert old.manifest().counts() == {"cat": 12, "dog": 3}
    old.delete()
    for entry in new.manifest().images:
        assert new.image(entry).is_file()
        assert new.thumbnail(entry).is_file()


def test_what_is_extended_stays_until_it_was_taken_over(
    workspace: Workspace, dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def work(folder: DatasetFolder) -> Iterator[Event]:
        yield StageStarted(stage="reading", title=folder.name)
        with pytest.raises(InUse, match="needs 'dataset'"):
            dataset.delete()
        refused.append("at work")

    def submit() -> DatasetFolder:
        return jobs.submit_ingest(workspace, source_kind="folder", source=tmp_path, name="more", extends=dataset)

    assert by(InProcess({"ingest": work}), submit).status().state == "succeeded"
    assert refused
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    waits = submit()
    with pytest.raises(InUse, match="needs 'dataset'"):
        dataset.delete()
    cancel(waits)
    dataset.delete()
    with pytest.raises(NotFound):
        submit()


def test_too_few_pictures_are_said_before_a_run_is_made(workspace: Workspace, picture_folder: Pictures) -> None:
    dataset = jobs.submit_ingest(
        workspace, source_kind="folder", source=picture_folder({"cat": 12, "dog": 3}), name="few"
    )
    assert _status(dataset) == "succeeded"
    with pytest.raises(NotEnoughImages, match="dog"):
        jobs.submit_training(workspace, dataset, device="cpu")
    assert workspace.runs() == []
