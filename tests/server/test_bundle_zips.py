"""The zip of a bundle is sent while it is made: a download, or many, take neither memory nor disk of its size."""

import io
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from streamlit.runtime.media_file_manager import MediaFileManager
from streamlit.runtime.memory_media_file_storage import MemoryMediaFileStorage

from tests.app import records
from tests.server.asking import ask, inner
from tests.serving.conftest import bundle, graph
from tl_core.runs.store.folders import RunFolder
from tl_core.serving.bundle import Bundle, read_bundle
from ui import runview
from ui.server import bundle_zips
from ui.server.bundle_zips import BundleZips

__all__ = ["bundle", "graph"]


@pytest.fixture
def run(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run with a bundle, in an app that is served with its guards."""
    monkeypatch.setattr(runview, "guarded", lambda: True)
    made = records.run(records.dataset(each=5))
    shutil.copytree(bundle.folder, made.bundle, dirs_exist_ok=True)
    return made


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> MediaFileManager:
    """What Streamlit keeps in memory for browsers to load."""
    kept = MediaFileManager(MemoryMediaFileStorage("/media"))
    there = SimpleNamespace(exists=lambda: True, get_instance=lambda: SimpleNamespace(media_file_mgr=kept))
    monkeypatch.setattr(bundle_zips, "runtime", there)
    return kept


def clicked(files: MediaFileManager, run: RunFolder) -> str:
    """The address that the browser gets after a click on the button."""
    offer = files.add_deferred(lambda: runview.zipped(run), "application/zip", "0.1", "Größe-bundle.zip")
    return files.execute_deferred(offer)


def test_hundreds_of_clicks_make_nothing_and_each_download_is_whole(
    files: MediaFileManager, run: RunFolder, tmp_path: Path
) -> None:
    (address,) = {clicked(files, run) for _ in range(300)}
    stored = files.read_file(address.removeprefix("/media/").removesuffix(".zip"))
    assert stored is not None
    assert stored.content_size < 100
    for _ in range(2):
        answer = ask(BundleZips(inner), address)
        assert answer.status == 200
        assert answer.headers["content-disposition"].endswith("Gr%C3%B6%C3%9Fe-bundle.zip")
        whole = answer.body.encode(errors="surrogateescape")
        assert zipfile.ZipFile(io.BytesIO(whole)).testzip() is None
        (tmp_path / "b.zip").write_bytes(whole)
        assert read_bundle(tmp_path / "b.zip").info.classes == ("red", "green", "blue")
    asked = ask(BundleZips(inner), address, method="HEAD")
    assert (asked.status, asked.body) == (200, "")


def test_the_bundle_of_a_run_that_was_deleted_is_not_sent(files: MediaFileManager, run: RunFolder) -> None:
    address = clicked(files, run)
    shutil.rmtree(run.path)
    answer = ask(BundleZips(inner), address)
    assert answer.status == 404
    assert "was deleted" in answer.body


@pytest.mark.parametrize("path", ["/", "/media/0123.zip", "/media/0123.jpg", "/media/../x.zip"])
def test_everything_else_is_left_to_the_app(files: MediaFileManager, path: str) -> None:
    assert ask(BundleZips(inner), path).body == "the app"


def test_what_the_page_keeps_itself_is_no_bundle(files: MediaFileManager) -> None:
    offer = files.add_deferred(lambda: b"a zip of something else", "application/zip", "0.1", "x.zip")
    assert ask(BundleZips(inner), files.execute_deferred(offer)).body == "the app"
