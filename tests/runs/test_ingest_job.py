"""Real data sets, read by real workers."""

import io
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import until
from tests.runs.conftest import ended, failure, kill, read
from tests.runs.executors import KEEPING
from tl_core.documents.events import Progress
from tl_core.documents.manifest import Remedies
from tl_core.errors import InUse, NotEnoughImages, SpecError
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


def _require_files(data: DatasetFolder) -> None:
    for entry in data.manifest().images:
        assert data.image(entry).is_file()
        assert data.thumbnail(entry).is_file()


def test_a_folder_becomes_a_data_set(workspace: Workspace, picture_folder: Pictures) -> None:
    source = picture_folder({"cat": 12, "dog": 10})
    (source / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff not much of a picture")
    dataset = read(workspace, source)
    manifest = dataset.manifest()
    assert manifest.counts() == {"cat": 12, "dog": 10}
    assert [refusal.file for refusal in manifest.refused] == ["cat/broken.jpg"]
    _require_files(dataset)
    assert not (dataset.path / "staging").exists()
    assert dataset.status().seconds["ingest"] > 0
    assert len(list(source.glob("*/*"))) == 23
    assert workspace.datasets() == [dataset]


def test_an_upload_is_removed_once_it_was_read_and_a_folder_of_the_users_own_never(
    workspace: Workspace, picture_folder: Pictures
) -> None:
    source = picture_folder()
    upload = workspace.staging()
    zipped = Path(shutil.make_archive(str(upload / "photos"), "zip", source))
    dataset = read(workspace, zipped, source_kind="zip", remove_source=True)
    assert dataset.manifest().counts() == {"cat": 12, "dog": 12}
    assert not upload.exists()
    read(workspace, source, remove_source=True)
    assert len(list(source.glob("*/*.jpg"))) == 24


def test_a_folder_without_pictures_fails_in_words_and_its_upload_goes(workspace: Workspace) -> None:
    upload = workspace.staging()
    (upload / "empty").mkdir()
    dataset = jobs.submit_ingest(
        workspace, source_kind="folder", source=upload / "empty", name="empty", remove_source=True
    )
    assert ended(dataset).startswith("failed: ")
    assert failure(dataset).exit_code == 2
    assert "Traceback" not in dataset.log()
    assert not upload.exists()


def test_an_ingest_that_is_killed_leaves_no_half_data_set_and_no_pictures(
    workspace: Workspace, many_large: Path
) -> None:
    dataset = jobs.submit_ingest(workspace, source_kind="folder", source=many_large, name="large")
    until(lambda: any(isinstance(event, Progress) for event in dataset.events()[0]))
    kill(local._workers[dataset.path].pid, dataset)
    assert not (dataset.path / "manifest.json").exists()
    until(lambda: not {"images", "thumbnails", "staging"} & {path.name for path in dataset.path.iterdir()})
    dataset.delete()
    assert workspace.datasets() == []


def test_what_it_left_is_removed_also_where_a_child_of_the_killed_worker_holds_the_lock_a_moment_longer(
    workspace: Workspace, picture_folder: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = read(workspace, picture_folder({"cat": 3, "dog": 3}))
    dataset.manifest_file.unlink()
    looks = [True, True]
    monkeypatch.setattr(DatasetFolder, "alive", lambda _: bool(looks and looks.pop()))
    local._reap(dataset, subprocess.Popen(["true"], start_new_session=True))
    assert not {"images", "thumbnails"} & {path.name for path in dataset.path.iterdir()}


@pytest.fixture
def pets(workspace: Workspace, picture_folder: Pictures) -> DatasetFolder:
    return read(workspace, picture_folder({"cat": 12, "dog": 3}))


def _held(data: DatasetFolder) -> tuple[object, ...]:
    """All that must stay as it was when nothing comes of adding pictures."""
    files = {
        path.name: path.stat().st_ino for kind in ("images", "thumbnails") for path in (data.path / kind).iterdir()
    }
    return data.number, data.manifest(), data.versions.made(), files


def test_an_upload_is_added_to_a_data_set_as_its_next_version(
    workspace: Workspace, pets: DatasetFolder, picture_folder: Pictures
) -> None:
    before = pets.manifest()
    upload = workspace.staging()
    more = picture_folder({"cat": 12, "dog": 12, "fox": 5}, root=upload / "folder")
    assert read(workspace, more, remove_source=True, onto=pets) == pets
    assert not upload.exists()
    assert pets.manifest().counts() == {"cat": 12, "dog": 12, "fox": 5}
    assert (pets.number, pets.versions.made()[2].added, pets.name) == (2, 14, "Pets")
    _require_files(pets)
    pets.versions.choose(1)
    assert pets.manifest() == before
    assert workspace.datasets() == [pets]


@pytest.mark.parametrize("end", ["kill", "cancel"])
def test_adding_that_is_broken_off_leaves_the_data_set_as_it_was(
    workspace: Workspace, pets: DatasetFolder, many_large: Path, picture_folder: Pictures, end: str
) -> None:
    before, known = _held(pets), len(list((pets.path / "images").iterdir()))
    jobs.submit_ingest(workspace, source_kind="folder", source=many_large, name="Pets", onto=pets)
    until(lambda: len(list((pets.path / "images").iterdir())) > known)
    assert pets.ready
    if end == "kill":
        os.kill(local._workers[pets.path].pid, signal.SIGKILL)
    else:
        cancel(pets)
    until(lambda: not pets.alive())
    assert pets.status().state == ("interrupted" if end == "kill" else "cancelled")
    until(lambda: not pets.versions.unpublished())
    assert _held(pets) == before
    read(workspace, picture_folder({"dog": 5}), onto=pets)
    assert (pets.number, pets.manifest().counts()) == (2, {"cat": 12, "dog": 8})


def test_while_pictures_are_added_nobody_else_changes_or_deletes_the_data_set(
    workspace: Workspace, pets: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def submit() -> DatasetFolder:
        return jobs.submit_ingest(workspace, source_kind="folder", source=tmp_path, name="Pets", onto=pets)

    read_first = pets.manifest()
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    submit()
    remedies = Remedies(leave_out=(pets.manifest().images[0].file,))
    for refused in (submit, pets.delete, lambda: pets.versions.apply(remedies)):
        with pytest.raises(InUse):
            refused()
    assert pets.status().state == "queued"
    pets.require_read()
    cancel(pets)
    assert pets.versions.apply(remedies) == 2
    pets.versions.choose(1)
    assert pets.manifest() == read_first
    pets.delete()
    with pytest.raises(SpecError):
        submit()


def test_too_few_pictures_are_said_before_a_run_is_made(workspace: Workspace, pets: DatasetFolder) -> None:
    with pytest.raises(NotEnoughImages, match="dog"):
        jobs.submit_training(workspace, pets, device="cpu")
    assert workspace.runs() == []
