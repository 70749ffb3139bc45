"""What a workspace may take and what stays free on the disk: refused in words, before and while something is written."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.app.test_uploads import Sent
from tests.runs.conftest import HERE, failure
from tests.runs.executors import InProcess, Keeping, by
from tl_core.documents.spec import TrainSpec
from tl_core.documents.tasks import DescribeSpec
from tl_core.errors import DiskFull, OverBudget
from tl_core.runs.ingest_job import ingest_job
from tl_core.runs.process.run_job import Held, run
from tl_core.runs.start import jobs
from tl_core.runs.store.budgets import Allowance, expected_bytes, used
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import Store, Workspace
from tl_core.runs.tasks.ask import ask
from ui.data_page import uploads

READING = InProcess({"ingest": ingest_job})
WAITING = Keeping()


def _megabytes(monkeypatch: pytest.MonkeyPatch, workspace: float) -> None:
    monkeypatch.setenv("GRAFT_WORKSPACE_GB", str(workspace / 1000))


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and the disk has 10 MB left from then on."""

    def fill() -> None:
        few = shutil._ntuple_diskusage(10**12, 10**12 - 10**7, 10**7)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: few)

    return fill


def test_reading_stops_where_the_budget_of_the_workspace_ends_and_leaves_no_pictures(
    workspace: Workspace, picture_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = picture_folder({"cat": 12, "dog": 12})
    zipped = Path(shutil.make_archive(str(source), "zip", source))
    for kind, place in (("folder", source), ("zip", zipped)):
        _megabytes(monkeypatch, 0.08)
        job = by(READING, jobs.submit_ingest, workspace, source_kind=kind, source=place, name=kind)
        assert failure(job).kind == OverBudget.kind
        assert "of the 80 kB that it may have" in failure(job).message
        assert not list(job.path.rglob("*.jpg"))
        assert not (job.path / "staging").exists()
        job.delete()
        _megabytes(monkeypatch, 1)
        whole = by(READING, jobs.submit_ingest, workspace, source_kind=kind, source=place, name=kind)
        assert whole.manifest().counts() == {"cat": 12, "dog": 12}
        whole.delete()


@pytest.mark.parametrize("adds", [False, True])
def test_copies_of_pictures_that_the_workspace_has_count_where_the_disk_has_no_links(
    workspace: Workspace, picture_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, adds: bool
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    source = picture_folder({"cat": 6, "dog": 6}, size=(640, 480))
    first = by(READING, jobs.submit_ingest, workspace, source_kind="folder", source=source, name="first")
    monkeypatch.setattr(os, "link", no_links)
    _megabytes(monkeypatch, 1.5 * used(workspace).total / 1e6)
    onto = first if adds else None
    again = by(READING, jobs.submit_ingest, workspace, source_kind="folder", source=source, name="again", onto=onto)
    assert failure(again).kind == OverBudget.kind
    assert (first.number, first.manifest().counts()) == (1, {"cat": 6, "dog": 6})
    assert len(list((first.path / "images").iterdir())) == 12


def test_an_upload_that_does_not_fit_is_refused_with_what_takes_most(
    workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dataset.path / "images").mkdir()
    (dataset.path / "images" / "1.jpg").write_bytes(b"x" * 700_000)
    _megabytes(monkeypatch, 1)
    staging = workspace.staging()
    with pytest.raises(
        OverBudget, match=r"Delete data sets or runs .* Most is taken by the data set 'dataset' \(7\d\d kB\)"
    ):
        uploads.save_zip(Sent("a.zip", b"x" * 400_000), staging)
    with pytest.raises(OverBudget):
        uploads.save_tree([Sent(f"a/{number}.jpg", b"x" * 40_000) for number in range(10)], staging)
    assert list(staging.iterdir()) == []
    assert uploads.save_zip(Sent("a.zip", b"x" * 100_000), staging).stat().st_size == 100_000
    dataset.delete()
    assert uploads.save_zip(Sent("a.zip", b"x" * 800_000), workspace.staging())


def test_a_run_is_refused_where_its_bundle_would_not_fit_and_one_that_waits_counts(
    workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    _megabytes(monkeypatch, 100)
    first = by(WAITING, jobs.submit_training, workspace, dataset, name="first", device="cpu")
    with pytest.raises(OverBudget, match="100 MB that it may have, and this takes 56 MB more"):
        by(WAITING, jobs.submit_training, workspace, dataset, name="second", device="cpu")
    assert workspace.runs() == [first]
    _megabytes(monkeypatch, 120)
    by(WAITING, jobs.submit_training, workspace, dataset, name="second", device="cpu")


@pytest.mark.parametrize(
    ("strategy", "megabytes"), [("full_fine_tuning", 54), ("partial_fine_tuning", 43), ("lora", 1)]
)
def test_a_run_that_trains_stages_counts_with_its_checkpoint(strategy: str, megabytes: int) -> None:
    """What learns four times: its values, two moments and an average."""
    spec = TrainSpec(
        name="a", workspace="", dataset="1", weights="w", image_size=224, strategy="feature_extraction", stages=2
    )
    trained = spec.model_copy(update={"strategy": strategy})
    assert expected_bytes(spec.model_copy(update={"strategy": "default"}), 100) == expected_bytes(spec, 100)
    more = expected_bytes(trained, 100) - expected_bytes(spec, 100)
    assert megabytes - 1 <= more / 1e6 <= megabytes + 1


def test_a_run_is_finished_with_its_best_state_only_where_its_bundle_fits(
    workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = by(HERE, jobs.submit_training, workspace, dataset, name="mended", device="cpu")
    stopped.best.write_bytes(b"x" * 1_000_000)
    _megabytes(monkeypatch, 50)
    with pytest.raises(OverBudget, match="56 MB of the 50 MB that it may have"):
        by(WAITING, jobs.go_on, stopped, "best")
    assert stopped.can_finish()
    _megabytes(monkeypatch, 60)
    assert by(WAITING, jobs.go_on, stopped, "best").alive()


def test_pictures_that_two_data_sets_share_count_once(workspace: Workspace, dataset: DatasetFolder) -> None:
    (dataset.path / "1.jpg").write_bytes(b"x" * 700_000)
    before = used(workspace).total
    other = by(HERE, jobs.submit_ingest, workspace, source_kind="sample", source="x", name="other")
    os.link(dataset.path / "1.jpg", other.path / "1.jpg")
    assert 0 < used(workspace).total - before < 100_000
    other.delete()
    assert used(workspace).total == before


@pytest.mark.parametrize("what", ["upload", "data set", "run", "question"])
def test_below_the_floor_nothing_is_taken_and_no_job_is_made(
    workspace: Workspace, dataset: DatasetFolder, full: Callable[[], None], what: str, tmp_path: Path
) -> None:
    staging = workspace.staging()
    start: dict[str, Callable[[], object]] = {
        "upload": lambda: uploads.save_zip(Sent("a.zip"), staging),
        "data set": lambda: jobs.submit_ingest(workspace, source_kind="folder", source=tmp_path, name="x"),
        "run": lambda: jobs.submit_training(workspace, dataset, device="cpu"),
        "question": lambda: ask(workspace, DescribeSpec(network="resnet10t")),
    }
    full()
    with pytest.raises(DiskFull, match=r"0 kB are left .*GRAFT_FREE_GB.* Free some space"):
        start[what]()
    assert list(staging.iterdir()) == []
    assert workspace.datasets() == [dataset]
    assert workspace.runs() == workspace.tasks() == []


def test_a_job_whose_turn_comes_below_the_floor_fails_in_words(
    workspace: Workspace, dataset: DatasetFolder, full: Callable[[], None]
) -> None:
    waiting = by(WAITING, jobs.submit_training, workspace, dataset, name="late", device="cpu")
    full()
    run(waiting, Held.of(waiting), {"train": lambda job: pytest.fail("it started")}.__getitem__, Store.default())
    assert failure(waiting).kind == DiskFull.kind


def test_the_cache_makes_way_before_a_job_is_refused(
    workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Store.default().cache
    path = cache.make("pixels", "old", lambda path: path.write_bytes(b"x" * 1000) and None)
    os.utime(path, (1, 1))
    # The disk lacks 500 bytes as long as the entry is there.
    free = lambda: 10**9 + (500 if not path.exists() else -500)  # noqa: E731
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**12, 0, free()))
    by(WAITING, jobs.submit_training, workspace, dataset, name="next", device="cpu")
    assert not path.exists()


def test_tiny_files_count_with_the_block_of_the_disk_that_each_takes(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    _megabytes(monkeypatch, 1)
    tiny = [Sent(f"p/{number}/1.jpg", b"x") for number in range(150)]
    staging = workspace.staging()
    with pytest.raises(OverBudget, match="this takes 1 MB more"):
        uploads.save_tree(tiny, staging)
    assert list(staging.iterdir()) == []
    draft = uploads.Draft(workspace.staging())
    for _ in range(2):
        draft.add(tiny[:100], "cup")
    with pytest.raises(OverBudget, match=r"takes 8\d\d kB of the 1 MB"):
        draft.add(tiny[:100], "cup")
    _megabytes(monkeypatch, used(workspace).total / 1e6 + 0.01)
    left = Allowance(workspace)
    for name in "ab":
        left(1)
        (staging / name).write_bytes(b"x")
    with pytest.raises(OverBudget):
        left(1)


def test_where_the_disk_has_room_for_few_more_files_no_upload_is_taken_and_no_job_starts(
    workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = os.statvfs(workspace.path)

    def files(in_all: int, free: int) -> None:
        numbers = [*found]
        numbers[5:8] = in_all, free, free
        monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(numbers))

    files(1_000_000, 49_999)
    staging = workspace.staging()
    with pytest.raises(
        DiskFull, match=r"room for 49,999 more is left, and for 50,000 has to stay free \(GRAFT_FREE_GB\)"
    ):
        uploads.save_zip(Sent("a.zip"), staging)
    with pytest.raises(DiskFull, match="full of files"):
        by(WAITING, jobs.submit_training, workspace, dataset, device="cpu")
    assert list(staging.iterdir()) == []
    assert workspace.runs() == []
    for in_all, free in ((1_000_000, 50_000), (0, 0)):
        files(in_all, free)
        uploads.save_zip(Sent("a.zip"), workspace.staging())
