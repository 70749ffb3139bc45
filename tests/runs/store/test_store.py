"""Workspaces and job folders: who sees what, what a reader makes of what lies there, what is swept."""

import errno
import os
import stat
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.runs.conftest import HERE
from tests.runs.executors import by
from tl_core import locks
from tl_core.disk import remove
from tl_core.documents.events import EVENT, Notice, State, Status
from tl_core.errors import DiskFull, InUse, NotFound, StoreError
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store, Workspace, new_id, new_token
from tl_core.runs.store.sweep import remove_upload, sweep, sweep_hourly

_DAY = 86_400


def _read(workspace: Workspace, name: str = "dataset") -> DatasetFolder:
    return by(HERE, jobs.submit_ingest, workspace, source_kind="sample", source="x", name=name)


@pytest.mark.parametrize(
    "token", ["", "..", "abc", "A" * 32, "g" * 32, "0" * 31, "0" * 33, "../" + "0" * 29, "0" * 32 + "\n"]
)
def test_what_is_no_token_opens_nothing(store: Path, token: str) -> None:
    with pytest.raises(NotFound):
        Store.default().workspace(token)
    assert not store.exists()


def test_looking_into_an_empty_workspace_writes_nothing(store: Path) -> None:
    workspace = Store.default().workspace(new_token())
    assert workspace.datasets() == workspace.runs() == workspace.live() == []
    workspace.touch()
    workspace.delete()
    with pytest.raises(NotFound):
        workspace.dataset(new_id())
    assert not store.exists()


@pytest.mark.parametrize("identifier", ["", ".", "../x", "0" * 15, "x" * 16, "/etc/passwd", "0123456789abcdef"])
def test_a_strange_id_finds_nothing(workspace: Workspace, dataset: DatasetFolder, identifier: str) -> None:
    for look in (workspace.dataset, workspace.run):
        with pytest.raises(NotFound):
            look(identifier)


def test_another_workspace_sees_nothing_of_this_one(workspace: Workspace, dataset: DatasetFolder) -> None:
    other = Store.default().workspace(new_token())
    assert other.datasets() == []
    with pytest.raises(NotFound):
        other.dataset(dataset.id)
    assert workspace.dataset(dataset.id) == dataset


def test_data_sets_are_listed_newest_first(workspace: Workspace) -> None:
    folders = [_read(workspace) for _ in range(3)]
    for age, folder in enumerate(reversed(folders)):
        os.utime(folder.lock, (1_000_000 - age, 1_000_000 - age))
    assert workspace.datasets() == folders[::-1]


def test_a_new_name_is_display_text_only(dataset: DatasetFolder, workspace: Workspace) -> None:
    assert dataset.name == "dataset"
    dataset.rename("  ../../<script>\n" + "x" * 300)
    assert dataset.name.startswith("../../<script> xxx")
    assert len(dataset.name) == 200
    assert workspace.datasets() == [dataset]
    dataset.rename(" ")
    assert dataset.name == dataset.id


@pytest.mark.parametrize(
    ("held", "status", "cancel", "state"),
    [
        (True, "succeeded", False, "succeeded"),
        (True, None, False, "queued"),
        (True, "running", False, "running"),
        (True, "running", True, "cancelling"),
        (False, "running", True, "cancelled"),
        (False, "running", False, "interrupted"),
        (False, None, False, "interrupted"),
        (False, "failed", True, "failed"),
    ],
)
def test_states_follow_from_lock_status_and_cancel_file(
    dataset: DatasetFolder, held: bool, status: State | None, cancel: bool, state: State
) -> None:
    dataset.status_file.unlink()
    if status:
        Status(state=status).write(dataset.status_file)
    if cancel:
        dataset.cancel_file.touch()
    with locks.holding(dataset.lock) if held else nullcontext():
        assert dataset.alive() == held
        assert dataset.status().state == state


def test_events_are_read_on_from_an_offset_and_half_lines_wait(dataset: DatasetFolder) -> None:
    events, offset = dataset.events()
    assert [event.type for event in events] == ["stage", "ended"]
    assert dataset.events(offset) == ([], offset)
    line = EVENT.dump_json(Notice(message="Späte Nachricht"))
    with (dataset.path / "events.jsonl").open("ab", buffering=0) as file:
        file.write(line[:20])
        assert dataset.events(offset) == ([], offset)
        file.write(line[20:] + b"\n" + b'{"type": "not')
        later, end = dataset.events(offset)
        assert [event.message for event in later if isinstance(event, Notice)] == ["Späte Nachricht"]
        # The next worker ends what a killed one left half written.
        file.write(b"\n" + line + b"\n")
    assert len(dataset.events(end)[0]) == 1


def test_delete_removes_the_folder_and_only_that(workspace: Workspace, dataset: DatasetFolder) -> None:
    other = _read(workspace)
    dataset.delete()
    dataset.delete()
    assert workspace.datasets() == [other]
    with pytest.raises(NotFound):
        dataset.status()


def test_staging_folders_are_fresh_and_the_workspaces_own(workspace: Workspace, tmp_path: Path) -> None:
    first, second = workspace.staging(), workspace.staging()
    assert first != second
    assert workspace.holds_staged(first / "photos.zip")
    assert not workspace.holds_staged(tmp_path / "photos.zip")
    assert not workspace.holds_staged(first / ".." / ".." / "datasets")


def test_the_command_line_keeps_its_workspace_and_its_token_to_itself(store: Path) -> None:
    first = Store.default().command_line_workspace()
    assert Store.default().command_line_workspace().token == first.token
    mode = (store / "command-line-token").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert sorted(path.name for path in store.iterdir()) == ["cache", "command-line-token", "queue", "workspaces"]


def test_only_idle_workspaces_are_swept(workspace: Workspace, dataset: DatasetFolder) -> None:
    store = Store.default()
    idle, live = store.workspace(new_token()), store.workspace(new_token())
    for old in (idle, live):
        _age(old, _read(old), 3 * _DAY)
    with locks.holding(live.datasets()[0].lock):
        assert sweep(store, 0) == []
        assert sweep(store, 2) == [idle.token]
        assert not idle.exists
        assert live.datasets()
        assert workspace.datasets() == [dataset]
    live.touch()
    assert sweep(store, 2) == []
    assert sweep(store, 1e-9) != []


def test_a_passing_workspace_goes_with_its_block_or_where_that_was_killed_with_the_next_sweep() -> None:
    store = Store.default()
    with store.passing_workspace() as passing:
        _read(passing)
        assert sweep(store, 0) == []
        assert passing.datasets()
    assert not passing.exists
    forsaken = store.workspace(new_token())
    _read(forsaken)
    forsaken.passing.touch()
    assert sweep(store, 0) == [forsaken.token]
    assert not forsaken.exists


def test_a_workspace_in_use_is_not_swept_by_its_own_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_KEEP_DAYS", "2")
    store = Store.default()
    old, idle = store.workspace(new_token()), store.workspace(new_token())
    first = _read(old)
    upload = old.staging()
    for workspace in (old, idle):
        _age(workspace, _read(workspace), 3 * _DAY)
    _age(old, first, 3 * _DAY)
    _hours_pass(2)
    os.utime(upload, (time.time() - _DAY / 2,) * 2)
    _read(old, "next")
    assert {dataset.name for dataset in old.datasets()} >= {"next", first.name}
    assert upload.is_dir()
    assert not idle.exists


def test_the_jobs_of_an_hour_sweep_once_and_the_app_and_the_commands_count_together(
    workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_KEEP_DAYS", "2")
    store, idle = Store.default(), Store.default().workspace(new_token())
    _age(idle, _read(idle), 3 * _DAY)
    _read(workspace)
    assert sweep_hourly(store, 2) == []
    assert idle.exists
    _hours_pass(2)
    sweeping = locks.take(store.root / "swept")
    assert sweeping is not None
    _read(workspace)
    assert idle.exists, "another process is sweeping just now"
    locks.release([sweeping])
    _read(workspace)
    assert not idle.exists
    _age(idle, _read(idle), 3 * _DAY)
    assert sweep_hourly(store, 2) == []
    assert sweep(store, 2) == [idle.token], "a sweep that is asked for does not wait for the hour"


def test_broken_off_work_is_cleared(workspace: Workspace, dataset: DatasetFolder) -> None:
    fresh, stale = workspace.staging(), workspace.staging()
    os.utime(stale, (time.time() - 2 * _DAY,) * 2)
    half_deleted = workspace.path / "datasets" / ".deleted-0123"
    half_made = workspace.path / "runs" / ".new-0123"
    for folder in (half_deleted, half_made):
        folder.mkdir(parents=True)
    os.utime(half_made, (time.time() - _DAY,) * 2)
    sweep(Store.default(), 0)
    assert fresh.exists()
    assert not stale.exists()
    assert not half_deleted.exists()
    assert not half_made.exists()


@pytest.mark.parametrize("inner", ["", "upload.zip"])
def test_an_upload_that_a_job_at_work_reads_is_neither_swept_nor_cleared_however_old_it_is(
    workspace: Workspace, dataset: DatasetFolder, inner: str
) -> None:
    upload = workspace.staging()
    dataset.write_spec(dataset.spec().model_copy(update={"source": str(upload / inner)}))
    os.utime(upload, (time.time() - 2 * _DAY,) * 2)
    with locks.holding(dataset.lock):
        sweep(Store.default(), 0)
        with pytest.raises(InUse, match="reads this upload"):
            remove_upload(workspace, upload)
        assert upload.exists()
    sweep(Store.default(), 0)
    assert not upload.exists()


def test_pictures_of_a_data_set_that_was_not_read_to_the_end_are_swept_once_its_job_has_ended(
    workspace: Workspace, dataset: DatasetFolder
) -> None:
    broken_off = _read(workspace)
    broken_off.manifest_file.unlink()
    with locks.holding(broken_off.lock):
        left = [folder.path / "images" for folder in (dataset, broken_off)]
        for images in left:
            images.mkdir()
        sweep(Store.default(), 0)
        assert [images.exists() for images in left] == [True, True]
    sweep(Store.default(), 0)
    assert [images.exists() for images in left] == [True, False]


@pytest.mark.parametrize("days", [0, 2])
def test_a_job_whose_spec_cannot_be_read_stops_no_sweep_and_keeps_the_uploads_beside_it(
    workspace: Workspace, dataset: DatasetFolder, days: int
) -> None:
    store, other = Store.default(), Store.default().workspace(new_token())
    foreign, upload = _read(other), other.staging()
    os.utime(upload, (time.time() - 2 * _DAY,) * 2)
    foreign.submitted.write_text("accepted")
    (foreign.path / "spec.json").write_text('{"schema": 99}')
    _age(other, foreign, 3 * _DAY)
    half_deleted = workspace.path / "datasets" / ".deleted-0123"
    half_deleted.mkdir()
    assert sweep(store, days) == []
    assert upload.exists()
    assert not half_deleted.exists()
    foreign.submitted.unlink()
    sweep(store, 0)
    assert not upload.exists()


def test_a_workspace_with_a_mistake_in_it_stops_no_sweep_and_is_not_tried_again_by_every_page(
    workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store.default()
    half_deleted = [place / ".deleted-0123" for place in (workspace.path / "datasets", store.root / "workspaces")]
    for folder in half_deleted:
        folder.mkdir()
    broken, sees = store.workspace(new_token()), DatasetFolder.tidy
    met = _read(broken)

    def tidy(folder: DatasetFolder) -> None:
        if folder == met:
            raise RecursionError(f"in {folder.path}")
        sees(folder)

    monkeypatch.setattr(DatasetFolder, "tidy", tidy)
    _hours_pass(2)
    assert sweep_hourly(store, 0) == []
    assert [folder.exists() for folder in half_deleted] == [False, False]
    (line,) = caplog.messages
    assert broken.token[:6] in line
    assert "RecursionError" in line
    assert broken.token not in caplog.text
    caplog.clear()
    sweep_hourly(store, 0)
    assert not caplog.messages


def test_a_disk_that_is_full_makes_no_workspace_says_so_and_lets_pages_open(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        if workspace.path in (path, *path.parents):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    workspace.store.make()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", full)
        for make in (workspace.make, workspace.staging):
            with pytest.raises(DiskFull):
                make()
    workspace.make()
    monkeypatch.setattr(Path, "touch", full)
    workspace.touch()


def test_a_folder_that_somebody_else_removes_at_the_same_moment_is_removed(
    dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def removed_meanwhile(job: DatasetFolder) -> bool:
        remove(job.path)
        return False

    monkeypatch.setattr(DatasetFolder, "waits", removed_meanwhile)
    dataset.delete()
    assert not dataset.path.exists()


def test_a_folder_that_is_no_job_says_so(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert not run.alive()
    for look in (run.status, run.spec, run.report, run.headline):
        with pytest.raises(NotFound):
            look()
    assert run.events() == ([], 0)
    assert run.log() == ""


def _age(workspace: Workspace, dataset: DatasetFolder, seconds: float) -> None:
    then = time.time() - seconds
    for path in (dataset.path, dataset.path.parent, workspace.path / "touched", workspace.path):
        if path.exists():
            os.utime(path, (then, then))


def _hours_pass(hours: float) -> None:
    then = time.time() - hours * 3600
    os.utime(Store.default().root / "swept", (then, then))


def test_nobody_else_on_the_machine_can_list_tokens_or_read_pictures(
    store: Path, workspace: Workspace, dataset: DatasetFolder
) -> None:
    private = [store, *(store / name for name in ("workspaces", "cache", "queue")), workspace.path]
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in private] == [0o700] * 5


@pytest.mark.parametrize("place", ["/proc/graft", "/dev/null", "/dev/null/graft"])
def test_a_store_that_cannot_be_is_said_in_words(place: str) -> None:
    workspace = Store(Path(place)).workspace(new_token())
    for write in (Store(Path(place)).command_line_workspace, workspace.staging, lambda: _read(workspace)):
        with pytest.raises(StoreError, match=f"{place} cannot be used"):
            write()


@pytest.mark.parametrize("left", ["", "\0" * 32, "../x"])
def test_a_damaged_token_of_the_command_line_is_made_anew(store: Path, left: str) -> None:
    Store.default().command_line_workspace()
    (store / "command-line-token").write_text(left)
    assert Store.default().command_line_workspace().token == Store.default().command_line_workspace().token
