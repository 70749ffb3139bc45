"""What an operator sees of a store with `store`, and clears with it."""

import json
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.app import records
from tl_core import locks
from tl_core.cli import main
from tl_core.models.weights import downloaded
from tl_core.models.weights.downloaded import Downloaded, Origin, begin, downloads, record_of
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import Store, Workspace, new_token
from tl_core.runs.store.sweep import CLEARINGS

OLD = 1_000_000


def _store(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main(["store", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def _workspace(token: str) -> tuple[Workspace, DatasetFolder]:
    """A workspace with a data set and a run, not used for years."""
    workspace = Store.default().workspace(token)
    workspace.make()
    dataset = records.dataset(workspace)
    records.run(workspace, dataset)
    _rest(workspace)
    return workspace, dataset


def _rest(workspace: Workspace) -> None:
    for path in (*workspace.path.rglob("*"), workspace.path):
        os.utime(path, (OLD, OLD))


def _entry(kind: str, key: str, size: int) -> Path:
    path = Store.default().cache.make(kind, key, lambda path: path.write_bytes(b"x" * size) and None)
    os.utime(path, (OLD, OLD))
    return path


def _weights(tmp_path: Path, name: str) -> Downloaded:
    file = tmp_path / name
    file.write_bytes(b"w" * 5000)
    record = record_of(file)
    begin(record, Origin(network=name, weights="default", bytes=5000, part=f"{file}.part", file=str(file)))
    os.utime(record.path, (OLD, OLD))
    return record


def _process_ends(record: Downloaded) -> None:
    os.close(downloaded._held.pop(record._lock))


def test_the_operator_sees_who_takes_how_much_but_no_token(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tokens = ["aaaaaabbbb" + "0" * 22, "aaaaaabbcc" + "0" * 22, "b" * 32]
    for token in tokens:
        _workspace(token)
    large = Store.default().workspace(tokens[2])
    (large.staging() / "upload.zip").write_bytes(b"x" * 2_000_000)
    _rest(large)
    _entry("features", "k", 3000)
    record = _weights(tmp_path, "resnet18")
    found = _store(capsys)
    _process_ends(record)
    assert [row["workspace"] for row in found["workspaces"]][:1] == ["bbbbbb"]
    assert {row["workspace"] for row in found["workspaces"]} == {"bbbbbb", "aaaaaabbb", "aaaaaabbc"}
    first = found["workspaces"][0]
    assert (first["data_sets"], first["runs"], first["upload_bytes"], first["at_work"]) == (1, 1, 2_000_000, 0)
    assert first["bytes"] > first["data_set_bytes"] + 2_000_000 - 1
    assert first["last_used"] == OLD
    assert found["cache"]["features"] == {"entries": 1, "bytes": 3000}
    assert found["weights"] == [{"weights": "resnet18:default", "bytes": 5000, "last_used": OLD, "in_use": True}]
    assert found["disk"]["free"] > found["disk"]["stays_free"] > 0
    assert {name: row["count"] for name, row in found["can_go"].items()} == {
        "idle": 3,
        "uploads": 1,
        "unreadable": 0,
        "cache": 1,
        "weights": 0,
    }
    assert main(["store"]) == 0
    told = capsys.readouterr().out
    assert "bbbbbb" in told
    assert not [token for token in tokens if token in told or token in json.dumps(found)]


def test_a_workspace_goes_by_its_first_digits_unless_a_job_works_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    workspace, dataset = _workspace("c" * 32)
    other, _ = _workspace("d" * 32)
    held = locks.take(dataset.lock)
    assert held is not None
    refused = _store(capsys, "--clear", "cccccc", "--yes", code=2)
    assert refused["error"]["kind"] == "in_use"
    locks.release([held])
    assert "Add --yes" in _store(capsys, "--clear", "cccccc", code=2)["error"]["message"]
    assert workspace.exists
    removed = _store(capsys, "--clear", "cccccc", "--yes")["removed"]
    assert [row["what"] for row in removed] == ["cccccc"]
    assert not workspace.exists
    assert other.exists
    assert (
        "neither idle, uploads, unreadable, cache, weights"
        in _store(capsys, "--clear", "ddd", "--yes", code=2)["error"]["message"]
    )
    assert _store(capsys, "--clear", "cccccc", "--yes", code=2)["error"]["kind"] == "not_found"


def test_a_workspace_goes_also_where_it_has_more_jobs_than_a_process_may_have_open_files_at_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    workspace, dataset = _workspace("c" * 32)
    for number in range(100):
        (folder := dataset.path.with_name(f"{number:016}")).mkdir()
        shutil.copyfile(dataset.path / "spec.json", folder / "spec.json")
    kept = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = max(int(path.name) for path in Path("/dev/fd").iterdir())
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 30, kept[1]))
        _store(capsys, "--clear", "cccccc", "--yes")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, kept)
    assert not workspace.exists


def test_idle_workspaces_and_forgotten_uploads_go_by_their_age(capsys: pytest.CaptureFixture[str]) -> None:
    idle, _ = _workspace("c" * 32)
    busy, dataset = _workspace("e" * 32)
    fresh, _ = _workspace("d" * 32)
    uploads = [fresh.staging() for _ in range(2)]
    os.utime(uploads[0], (OLD, OLD))
    held = locks.take(dataset.lock)
    assert held is not None
    removed = _store(capsys, "--clear", "uploads", "--yes")["removed"]
    assert [row["what"] for row in removed] == ["an upload of dddddd"]
    assert [upload.exists() for upload in uploads] == [False, True]
    found = _store(capsys, "--clear", "idle", "--older-than", "5", "--yes")
    locks.release([held])
    assert [row["what"] for row in found["removed"]] == ["cccccc"]
    assert [row["what"] for row in found["kept"]] == ["eeeeee"]
    assert (idle.exists, busy.exists, fresh.exists) == (False, True, True)


@pytest.mark.parametrize("what", ["idle", "uploads"])
def test_a_workspace_that_is_made_while_the_operator_looks_is_left_out(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, listed = Store.default(), Store.workspaces

    def one_more(found: Store) -> list[Workspace]:
        before = listed(found)
        upload = _workspace(new_token())[0].staging()
        os.utime(upload, (OLD, OLD))
        return before

    _workspace("c" * 32)[0].staging()
    monkeypatch.setattr(Store, "workspaces", one_more)
    assert [one.name.split()[-1] for one in CLEARINGS[what].find(store, float("inf"))] == ["cccccc"]


def test_the_cache_goes_but_for_what_jobs_at_work_may_use(capsys: pytest.CaptureFixture[str]) -> None:
    _, dataset = _workspace("c" * 32)
    before, during = _entry("pixels", "before", 10), _entry("pixels", "during", 10)
    os.utime(during, (OLD + 100, OLD + 100))
    held = locks.take(dataset.lock)
    assert held is not None
    os.utime(dataset.lock, (OLD + 50, OLD + 50))
    assert _store(capsys, "--clear", "cache", "--yes")["removed"] == [{"what": "pixels/before", "bytes": 10}]
    locks.release([held])
    assert (before.exists(), during.exists()) == (False, True)
    _store(capsys, "--clear", "cache", "--yes")
    assert not during.exists()


def test_downloaded_weights_go_but_for_those_in_use(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    idle, used = _weights(tmp_path, "resnet18"), _weights(tmp_path, "resnet34")
    _process_ends(idle)
    assert [row["what"] for row in _store(capsys, "--clear", "weights", "--yes")["removed"]] == ["resnet18:default"]
    _process_ends(used)
    assert ((tmp_path / "resnet18").exists(), (tmp_path / "resnet34").exists()) == (False, True)
    assert [one.origin.network for one in downloads()] == ["resnet34"]


def test_what_does_not_belong_together_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "belong to --clear" in _store(capsys, "--older-than", "3", code=2)["error"]["message"]
    assert "belongs to" in _store(capsys, "--clear", "c" * 6, "--older-than", "3", code=2)["error"]["message"]


def test_what_another_version_wrote_is_shown_nowhere_stays_until_it_is_cleared_and_is_read_again_as_a_folder(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, dataset = _workspace("ab" * 16)
    (run,) = workspace.runs()
    for job in (dataset, run):
        spec = json.loads((job.path / "spec.json").read_text())
        spec["spec"]["schema_version"] = 3
        (job.path / "spec.json").write_text(json.dumps(spec))
    manifest = json.loads(dataset.manifest_file.read_text())
    dataset.manifest_file.write_text(json.dumps(manifest | {"schema_version": 6}))
    assert (workspace.datasets(), workspace.runs()) == ([], [])
    assert _store(capsys)["can_go"]["unreadable"]["count"] == 2
    assert main(["check", str(dataset.path), "--no-features", "--json"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert {name: sum(parts.values()) for name, parts in found["classes"].items()} == {
        "bowl": 20,
        "cup": 20,
        "plate": 20,
    }
    assert "Add --yes" in _store(capsys, "--clear", "unreadable", code=2)["error"]["message"]
    assert dataset.path.is_dir()
    assert len(_store(capsys, "--clear", "unreadable", "--yes")["removed"]) == 2
    assert not dataset.path.exists()
    assert not run.path.exists()
