"""Weights of the Hugging Face hub: asked for, sent on, resumed, checked, and kept where every other program finds them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import try_to_load_from_cache

from tests.models.conftest import result_of
from tests.models.sites import COMMIT, CONTENT, PROXIES, SHA256, Site, hub_row, serving
from tl_core.documents.events import Notice, Progress
from tl_core.errors import DownloadFailed, WeightsUnavailable
from tl_core.models.weights.locations import hub_folder
from tl_core.models.weights.obtain import availability, available, fetch, find, where

FOLDER = "models--graft--resnet18.a1_in1k"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for variable in (*PROXIES, "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "GRAFT_WEIGHTS_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with serving() as told:
        told.linked = {"X-Linked-ETag": f'"{SHA256}"', "X-Linked-Size": str(len(CONTENT)), "X-Repo-Commit": COMMIT}
        monkeypatch.setenv("HF_ENDPOINT", told.address)
        yield told


def left_in(folder: Path) -> list[str]:
    return [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file() and file.suffix != ".lock"]


def test_a_download_lies_where_the_hubs_own_library_looks(site: Site) -> None:
    row = hub_row()
    assert not available(row)
    assert availability(row) == "downloads 1 MB"
    events, path = result_of(fetch(row))
    assert path.read_bytes() == CONTENT
    assert path == hub_folder() / FOLDER / "snapshots" / COMMIT / "model.safetensors"
    assert path.resolve().name == SHA256
    assert try_to_load_from_cache("graft/resnet18.a1_in1k", "model.safetensors", cache_dir=hub_folder()) == str(path)
    progress = [event for event in events if isinstance(event, Progress)]
    assert (progress[-1].done, progress[-1].total) == (3, 3), "the hub's own size, not the registry's"
    assert (find(row).path, where(row), availability(row)) == (path, "Hugging Face cache", "here now")
    assert result_of(fetch(row)) == ([], path)
    assert site.paths == ["/graft/resnet18.a1_in1k/resolve/main/model.safetensors", "/storage"]


def test_the_operators_key_is_shown_to_the_hub_and_not_to_its_storage(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_key")
    result_of(fetch(hub_row()))
    assert list(site.keys.values()) == ["Bearer hf_key", None]


def test_a_cut_connection_goes_on_where_it_stopped(site: Site) -> None:
    site.cut_after = 1_300_000
    _, path = result_of(fetch(hub_row()))
    assert path.read_bytes() == CONTENT
    assert site.asked == [None, "bytes=1300000-", "bytes=2600000-"]


def test_a_download_without_the_hash_that_the_hub_states_is_deleted(site: Site) -> None:
    site.content = CONTENT[:-1] + b"!"
    with pytest.raises(DownloadFailed, match="hash"):
        result_of(fetch(hub_row()))
    assert left_in(hub_folder()) == []


def test_a_file_that_was_replaced_on_the_hub_is_not_even_begun(site: Site) -> None:
    with pytest.raises(DownloadFailed, match=r"resnet18 \(model\.safetensors\).* another file"):
        result_of(fetch(hub_row(sha256="0" * 64)))
    assert left_in(hub_folder()) == []
    assert result_of(fetch(hub_row(sha256=SHA256)))[1].read_bytes() == CONTENT


def test_a_download_from_a_hub_that_states_no_hash_is_refused(site: Site) -> None:
    del site.linked["X-Linked-ETag"]
    with pytest.raises(DownloadFailed, match=r"which hash.*GRAFT_WEIGHTS_DIR"):
        result_of(fetch(hub_row()))
    assert left_in(hub_folder()) == []


def test_more_than_the_hub_said_is_not_taken(site: Site) -> None:
    site.content = CONTENT + b"more"
    with pytest.raises(DownloadFailed, match="more than 3 MB"):
        result_of(fetch(hub_row()))


def test_what_another_program_left_in_the_cache_is_used(site: Site) -> None:
    snapshots = hub_folder() / FOLDER / "snapshots"
    for commit in ("a" * 40, "b" * 40, "c" * 40):
        (snapshots / commit).mkdir(parents=True)
        (snapshots / commit / "model.safetensors").write_bytes(CONTENT)
    (snapshots / ("d" * 40)).mkdir()
    (hub_folder() / FOLDER / "refs").mkdir()
    (hub_folder() / FOLDER / "refs" / "main").write_text("b" * 40)
    assert result_of(fetch(hub_row())) == ([], snapshots / ("b" * 40) / "model.safetensors")
    assert site.paths == []


def test_a_damaged_blob_is_said_and_downloaded_again(site: Site) -> None:
    _, path = result_of(fetch(hub_row()))
    path.resolve().write_bytes(CONTENT[:1000])
    events, again = result_of(fetch(hub_row()))
    assert again == path
    assert again.read_bytes() == CONTENT
    assert any(isinstance(event, Notice) and "damaged" in event.message for event in events)


def test_offline_no_server_is_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsUnavailable, match=r"HF_HUB_OFFLINE.*work now: .*efficientnet_lite0"):
        result_of(fetch(hub_row()))
    assert site.paths == []


def test_a_file_that_needs_consent_says_how_else_to_get_it(site: Site) -> None:
    site.status = 403
    with pytest.raises(DownloadFailed, match=r"403.*GRAFT_WEIGHTS_DIR names, as resnet18\.safetensors"):
        result_of(fetch(hub_row()))
