"""What whoever runs Graft for others calls: `store`, `rehearse` and `prepare`."""

import json
import os
import resource
import shutil
from pathlib import Path

import pytest

from tests.app import records
from tests.cli.conftest import Terminal
from tests.conftest import picture
from tl_core import locks
from tl_core.data import samples
from tl_core.models.graphs import export
from tl_core.models.weights import downloaded
from tl_core.models.weights.downloaded import Downloaded, Origin, begin, downloads, record_of
from tl_core.runs import rehearsal
from tl_core.runs.process import devices
from tl_core.runs.rehearsal import Rehearsal, RehearsedStep
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import Store, Workspace, new_token
from tl_core.runs.store.sweep import CLEARINGS

OLD = 1_000_000


def _workspace(token: str) -> tuple[Workspace, DatasetFolder]:
    """A workspace with a data set and a run, not used for years."""
    workspace = Store.default().workspace(token)
    workspace.make()
    dataset = records.dataset(workspace)
    records.run(dataset)
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


def _what(rows: list[dict[str, object]]) -> list[object]:
    return [row["what"] for row in rows]


def _process_ends(record: Downloaded) -> None:
    os.close(downloaded._held.pop(record._lock))


def test_the_operator_sees_who_takes_how_much_but_no_token(terminal: Terminal, tmp_path: Path) -> None:
    tokens = ["aaaaaabbbb" + "0" * 22, "aaaaaabbcc" + "0" * 22, "b" * 32]
    for token in tokens:
        _workspace(token)
    large = Store.default().workspace(tokens[2])
    (large.staging() / "upload.zip").write_bytes(b"x" * 2_000_000)
    _rest(large)
    _entry("features", "k", 3000)
    record = _weights(tmp_path, "resnet18")
    found = terminal.json("store")
    _process_ends(record)
    assert found["workspaces"][0]["workspace"] == "bbbbbb"
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
    table = terminal.out("store")
    assert "bbbbbb" in table
    assert not [token for token in tokens if token in table + json.dumps(found)]


def test_a_workspace_goes_by_its_first_digits_unless_a_job_works_in_it(terminal: Terminal) -> None:
    workspace, dataset = _workspace("c" * 32)
    other, _ = _workspace("d" * 32)
    with locks.holding(dataset.lock):
        assert terminal.json("store", "--clear", "cccccc", "--yes", code=2)["error"]["kind"] == "in_use"
    assert "Add --yes" in terminal.json("store", "--clear", "cccccc", code=2)["error"]["message"]
    assert workspace.exists
    assert _what(terminal.json("store", "--clear", "cccccc", "--yes")["removed"]) == ["cccccc"]
    assert not workspace.exists
    assert other.exists
    assert (
        "neither idle, uploads, unreadable, cache, weights"
        in terminal.json("store", "--clear", "ddd", "--yes", code=2)["error"]["message"]
    )
    assert terminal.json("store", "--clear", "cccccc", "--yes", code=2)["error"]["kind"] == "not_found"


def test_a_workspace_goes_also_where_it_has_more_jobs_than_a_process_may_have_open_files_at_first(
    terminal: Terminal,
) -> None:
    workspace, dataset = _workspace("c" * 32)
    for number in range(100):
        (folder := dataset.path.with_name(f"{number:016}")).mkdir()
        shutil.copyfile(dataset.path / "spec.json", folder / "spec.json")
    kept = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = max(int(path.name) for path in Path("/dev/fd").iterdir())
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 30, kept[1]))
        terminal.json("store", "--clear", "cccccc", "--yes")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, kept)
    assert not workspace.exists


def test_idle_workspaces_and_forgotten_uploads_go_by_their_age(terminal: Terminal) -> None:
    idle, _ = _workspace("c" * 32)
    busy, dataset = _workspace("e" * 32)
    fresh, _ = _workspace("d" * 32)
    uploads = [fresh.staging() for _ in range(2)]
    os.utime(uploads[0], (OLD, OLD))
    with locks.holding(dataset.lock):
        assert _what(terminal.json("store", "--clear", "uploads", "--yes")["removed"]) == ["an upload of dddddd"]
        assert [upload.exists() for upload in uploads] == [False, True]
        cleared = terminal.json("store", "--clear", "idle", "--older-than", "5", "--yes")
    assert (_what(cleared["removed"]), _what(cleared["kept"])) == (["cccccc"], ["eeeeee"])
    assert (idle.exists, busy.exists, fresh.exists) == (False, True, True)


@pytest.mark.parametrize("what", ["idle", "uploads"])
def test_a_workspace_that_is_made_while_the_operator_looks_is_left_out(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, listed = Store.default(), Store.workspaces

    def one_more(found: Store) -> list[Workspace]:
        before = listed(found)
        os.utime(_workspace(new_token())[0].staging(), (OLD, OLD))
        return before

    _workspace("c" * 32)[0].staging()
    monkeypatch.setattr(Store, "workspaces", one_more)
    assert [one.name.split()[-1] for one in CLEARINGS[what].find(store, float("inf"))] == ["cccccc"]


def test_the_cache_goes_but_for_what_jobs_at_work_may_use(terminal: Terminal) -> None:
    _, dataset = _workspace("c" * 32)
    before, during = _entry("pixels", "before", 10), _entry("pixels", "during", 10)
    os.utime(during, (OLD + 100, OLD + 100))
    with locks.holding(dataset.lock):
        os.utime(dataset.lock, (OLD + 50, OLD + 50))
        assert _what(terminal.json("store", "--clear", "cache", "--yes")["removed"]) == ["pixels/before"]
    assert (before.exists(), during.exists()) == (False, True)
    terminal.json("store", "--clear", "cache", "--yes")
    assert not during.exists()


def test_downloaded_weights_go_but_for_those_in_use(terminal: Terminal, tmp_path: Path) -> None:
    idle, used = _weights(tmp_path, "resnet18"), _weights(tmp_path, "resnet34")
    _process_ends(idle)
    assert _what(terminal.json("store", "--clear", "weights", "--yes")["removed"]) == ["resnet18:default"]
    _process_ends(used)
    assert ((tmp_path / "resnet18").exists(), (tmp_path / "resnet34").exists()) == (False, True)
    assert [one.origin.network for one in downloads()] == ["resnet34"]


def test_what_does_not_belong_together_is_refused(terminal: Terminal) -> None:
    assert "belong to --clear" in terminal.json("store", "--older-than", "3", code=2)["error"]["message"]
    assert "belongs to" in terminal.json("store", "--clear", "c" * 6, "--older-than", "3", code=2)["error"]["message"]


def test_what_another_version_wrote_is_shown_nowhere_stays_until_it_is_cleared_and_is_read_again_as_a_folder(
    store: Path, terminal: Terminal
) -> None:
    workspace, dataset = _workspace("ab" * 16)
    (run,) = workspace.runs()
    for job in (dataset, run):
        spec = json.loads((job.path / "spec.json").read_text())
        spec["spec"]["schema_version"] = 3
        (job.path / "spec.json").write_text(json.dumps(spec))
    dataset.manifest_file.write_text(json.dumps({**json.loads(dataset.manifest_file.read_text()), "schema_version": 6}))
    assert (workspace.datasets(), workspace.runs()) == ([], [])
    assert terminal.json("store")["can_go"]["unreadable"]["count"] == 2
    assert terminal.json("check", dataset.path, "--no-features")["images"] == 60
    assert "Add --yes" in terminal.json("store", "--clear", "unreadable", code=2)["error"]["message"]
    assert dataset.path.is_dir()
    assert len(terminal.json("store", "--clear", "unreadable", "--yes")["removed"]) == 2
    assert (dataset.path.exists(), run.path.exists()) == (False, False)


READY = Rehearsal(
    sample="digits",
    title="Handwritten digits",
    machine="two cores",
    steps=(
        RehearsedStep(title="Read the pictures", first=9.04, again=4.5),
        RehearsedStep(title="Train", first=20.0, again=6.25),
    ),
    problems=(),
    missing=("Photographs are not here.",),
)
FAILED = READY.model_copy(
    update={
        "steps": (
            RehearsedStep(title="Read the pictures", first=9.04, again=4.5),
            RehearsedStep(title="Train", first=20.0, problem="It died.", log="one\ntwo\n"),
            RehearsedStep(title="First answers"),
        ),
        "problems": ("Train: It died.",),
    }
)


@pytest.mark.parametrize("json_wanted", [False, True])
@pytest.mark.parametrize("report", [READY, FAILED])
def test_it_tells_each_step_the_whole_walk_and_what_stands_in_the_way(
    report: Rehearsal, json_wanted: bool, monkeypatch: pytest.MonkeyPatch, terminal: Terminal
) -> None:
    monkeypatch.setattr(rehearsal, "rehearse", lambda store, on_event: report)
    out, err = terminal.run(["rehearse", *["--json"] * json_wanted], 0 if report.ready else 2)
    assert err.splitlines() == (
        [] if report.ready else ["Train, the end of its log:", "  one", "  two", "Train: It died."]
    )
    if json_wanted:
        said = json.loads(out)
        assert (said["ready"], said["walk_seconds"]) == ((True, 10.75) if report.ready else (False, None))
        assert said["steps"][0] == {
            "title": "Read the pictures",
            "first": 9.04,
            "again": 4.5,
            "problem": None,
            "log": "",
        }
        return
    rows = [line.split() for line in out.splitlines()]
    assert rows[2] == ["Read", "the", "pictures", "9.0", "s", "4.5", "s"]
    assert rows[4] == (["Together", "10.8", "s"] if report.ready else ["First", "answers", "not", "tried"])
    assert rows[3][-1] == ("s" if report.ready else "failed")
    assert "Photographs are not here." in out
    assert ("Ready to be shown" in out) == report.ready


@pytest.fixture
def exported_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "exported_backbone", lambda *_: iter(()))
    monkeypatch.setattr(devices, "time_processor", lambda folder: None)


@pytest.mark.usefixtures("exported_before")
def test_photographs_that_are_here_are_not_fetched_again(store: Path, terminal: Terminal) -> None:
    row = samples.smallest_photos()
    assert row.how.startswith("downloads")
    folder = samples.kept(row.name) / "church"
    folder.mkdir(parents=True)
    picture(0, 0).save(folder / "1.jpg")
    assert row.how == "here now"
    said = terminal.json("prepare", "--photos")
    assert (said["photos"], said["photos_folder"]) == (row.name, str(store / "samples" / row.name))


@pytest.mark.usefixtures("exported_before")
def test_without_a_network_it_says_so_and_the_backbone_is_ready(
    monkeypatch: pytest.MonkeyPatch, terminal: Terminal
) -> None:
    # No proxy listens there, so nothing can be fetched from this test, wherever it runs.
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    out, err = terminal.run(["prepare", "--photos"], 2)
    assert "is ready." in out
    assert "could not be downloaded" in err
