"""What Graft downloaded keeps to its budget: the least recently used goes, what is in use stays, what others brought is not touched."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.models.conftest import result_of
from tests.models.sites import CONTENT, Site, hub_row, torch_row
from tl_core.documents.events import Notice, Progress
from tl_core.errors import DiskFull, InUse, OverBudget
from tl_core.models.weights import downloaded
from tl_core.models.weights.downloaded import downloads
from tl_core.models.weights.locations import hub_folder, torch_folder
from tl_core.models.weights.obtain import available, fetch, require_obtainable


@pytest.fixture(autouse=True)
def budget(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files have 3 MB, of which 7 MB may be kept."""
    monkeypatch.setenv("GRAFT_WEIGHTS_GB", "0.007")
    yield
    _processes_end()


def _processes_end() -> None:
    """As if every process that used weights had ended."""
    while downloaded._held:
        os.close(downloaded._held.popitem()[1])


def _names() -> set[str]:
    return {one.origin.network for one in downloads()}


def test_the_least_recently_used_weights_go_and_the_run_says_so(site: Site) -> None:
    first, second, third = (torch_row(site, name) for name in ("resnet18", "resnet34", "resnet50"))
    for age, row in enumerate((second, first)):
        result_of(fetch(row))
        for one in downloads():
            os.utime(one.path, (1000 + age, 1000 + age))
    result_of(fetch(second))
    _processes_end()
    events, path = result_of(fetch(third))
    assert path.read_bytes() == CONTENT
    assert [available(row) for row in (first, second, third)] == [False, True, True]
    assert any(isinstance(event, Notice) and "resnet18" in event.message for event in events)
    assert _names() == {"resnet34", "resnet50"}
    assert sum(one.bytes for one in downloads()) == 2 * len(CONTENT)


def test_weights_that_jobs_use_stay_and_the_next_ones_are_refused_before_anything_goes(site: Site) -> None:
    for name in ("resnet18", "resnet34"):
        result_of(fetch(torch_row(site, name)))
    asked = len(site.paths)
    with pytest.raises(OverBudget, match=r"may take 7 MB \(GRAFT_WEIGHTS_GB\), of which 6 MB are in use"):
        result_of(fetch(torch_row(site, "resnet50")))
    with pytest.raises(InUse, match="in use by a job"):
        downloads()[0].remove()
    assert _names() == {"resnet18", "resnet34"}
    assert len(site.paths) == asked


def test_weights_that_another_job_brought_meanwhile_stay_while_they_are_used(site: Site, tmp_path: Path) -> None:
    row = torch_row(site)
    _, file = result_of(fetch(row))
    _processes_end()
    (record,) = downloads()
    for path in (file, record.path):
        path.rename(tmp_path / path.name)
    with FileLock(file.with_suffix(f"{file.suffix}.lock")):
        waiting = fetch(row)
        while not isinstance(next(waiting), Notice):
            continue
        for path in (file, record.path):
            (tmp_path / path.name).rename(path)
    assert result_of(waiting)[1] == file
    with pytest.raises(InUse, match="in use by a job"):
        record.remove()
    assert file.exists()


def test_weights_that_are_larger_than_all_that_may_be_kept_are_refused_before_a_job_is_made(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    result_of(fetch(torch_row(site, "resnet18")))
    _processes_end()
    monkeypatch.setenv("GRAFT_WEIGHTS_GB", "0.001")
    row = torch_row(site, "resnet34")
    with pytest.raises(OverBudget, match="take 3 MB"):
        require_obtainable(row)
    with pytest.raises(OverBudget, match="take 3 MB"):
        result_of(fetch(row))
    assert _names() == {"resnet18"}


def test_a_download_counts_from_its_beginning_and_what_broke_off_counts_as_far_as_it_came(site: Site) -> None:
    running = fetch(torch_row(site, "resnet18"))
    while not isinstance(next(running), Progress):
        continue
    assert [one.bytes for one in downloads()] == [len(CONTENT)]
    running.close()
    _processes_end()
    (part,) = torch_folder().glob("*.part")
    assert [one.bytes for one in downloads()] == [part.stat().st_size]
    part.unlink()
    assert downloads() == []


def test_what_others_brought_is_neither_counted_nor_removed(site: Site) -> None:
    row = torch_row(site, "resnet18")
    file = torch_folder() / row.weights[0].file
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    for name in ("resnet34", "resnet50", "resnet101"):
        result_of(fetch(torch_row(site, name)))
        _processes_end()
    result_of(fetch(row))
    assert _names() == {"resnet50", "resnet101"}
    assert file.exists()


def test_weights_of_the_hub_go_with_the_file_behind_their_link(site: Site) -> None:
    result_of(fetch(hub_row()))
    _processes_end()
    (one,) = downloads()
    assert one.remove() == len(CONTENT)
    assert not available(hub_row())
    assert not [path for path in hub_folder().rglob("*") if path.is_file() and path.stat().st_size > 1000]
    assert result_of(fetch(hub_row()))[1].read_bytes() == CONTENT


def test_a_download_stops_where_the_space_begins_that_stays_free(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 0, 10**9 + 2_000_000))
    with pytest.raises(DiskFull, match=r"2 MB are left for the weights of resnet18 .*, and this takes 3 MB"):
        result_of(fetch(torch_row(site)))
    assert [file for file in torch_folder().iterdir() if file.suffix != ".lock"] == []
