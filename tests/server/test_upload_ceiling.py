"""Uploads in the app's memory have a total, whoever sends them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from starlette.types import Receive, Scope, Send
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from tests.browser.conftest import serving
from tests.server.asking import Answer, aask, ask, inner, run
from tests.server.visiting import visiting
from ui.server import upload_ceiling
from ui.server.upload_ceiling import UploadCeiling

MB = 1_000_000


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    limits = {"GRAFT_MAX_UPLOAD_MB": "10", "GRAFT_UPLOADS_GB": "0.025"}
    with serving(tmp_path_factory.mktemp("app") / "store", **limits) as url:
        yield url


def test_an_upload_that_its_page_took_leaves_memory_and_is_not_taken_again(address: str) -> None:
    with visiting(address) as visitor:
        visitor.open("Data")
        state = visitor.bring("A folder", bytes(6 * MB))
        assert visitor.upload(bytes(6 * MB)) == 204
        visitor.remove()
        # As from a browser whose page was drawn anew meanwhile.
        visitor.open("Data", state)
        assert not visitor.broken


def test_a_session_is_refused_past_its_limit_and_all_past_theirs_until_there_is_room(address: str) -> None:
    with visiting(address) as first, visiting(address) as second, visiting(address) as third:
        assert [first.upload(bytes(5 * MB)) for _ in range(4)] == [204, 204, 413, 413]
        assert second.upload(bytes(10 * MB)) == 204
        assert third.upload(bytes(6 * MB)) == 503
        assert third.upload(bytes(4 * MB)) == 204
        second.remove()
        assert third.upload(bytes(6 * MB)) == 204


def _put(
    app: UploadCeiling, session: str, size: int | None, *, file: str | None = None, **how: str
) -> asyncio.Task[Answer]:
    headers = {} if size is None else {"content-length": str(size)}
    path = f"/_stcore/upload_file/{session}/{file or f'file-{size}'}"
    return asyncio.ensure_future(aask(app, path, method="PUT", headers=headers, **how))


def test_what_is_still_on_its_way_counts_and_no_byte_of_the_rest_is_read() -> None:
    async def story() -> None:
        arrived = asyncio.Event()
        started: list[str] = []

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            started.append(scope["path"])
            await arrived.wait()
            await inner(scope, receive, send)

        app = UploadCeiling(slow, session=10 * MB, total=20 * MB)
        first = _put(app, "a", 8 * MB)
        second = _put(app, "b", 9 * MB, client="203.0.113.2")
        await asyncio.sleep(0)
        assert len(started) == 2
        assert (await _put(app, "a", 3 * MB)).status == 413
        waiting = await _put(app, "c", 4 * MB, client="203.0.113.3")
        assert (waiting.status, waiting.headers["retry-after"]) == (503, "60")
        assert len(started) == 2
        arrived.set()
        assert [(await first).status, (await second).status] == [200, 200]
        assert (await _put(app, "c", 4 * MB, client="203.0.113.3")).status == 200

    run(story())


def test_a_file_that_is_sent_several_times_at_once_counts_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = MemoryUploadedFileManager("")
    kept.add_file("a", UploadedFileRec("file", "cup.jpg", "image/jpeg", bytes(3 * MB)))
    there = SimpleNamespace(exists=lambda: True, get_instance=lambda: SimpleNamespace(uploaded_file_mgr=kept))
    monkeypatch.setattr(upload_ceiling, "runtime", there)
    monkeypatch.setattr(upload_ceiling, "_tell", lambda session, text: None)

    async def story() -> None:
        arrived = asyncio.Event()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            await arrived.wait()
            await inner(scope, receive, send)

        app = UploadCeiling(slow, session=10 * MB, total=20 * MB)
        reading = [_put(app, "a", 3 * MB, file="file") for _ in range(3)]
        await asyncio.sleep(0)
        arrived.set()
        assert [(await task).status for task in reading] == [200, 200, 413]

    run(story())


def test_visitors_from_one_place_leave_room_for_the_others() -> None:
    async def story() -> None:
        arrived = asyncio.Event()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            await arrived.wait()
            await inner(scope, receive, send)

        app = UploadCeiling(slow, session=5 * MB, total=20 * MB)
        many = [_put(app, f"session-{number}", 5 * MB) for number in range(2)]
        await asyncio.sleep(0)
        refused = await _put(app, "session-3", 5 * MB)
        assert refused.status == 503
        assert "your network" in refused.body
        other = _put(app, "somebody", 5 * MB, client="198.51.100.9")
        await asyncio.sleep(0)
        arrived.set()
        assert [(await task).status for task in (*many, other)] == [200, 200, 200]

    run(story())


def test_an_upload_without_its_size_is_refused() -> None:
    app = UploadCeiling(inner, session=MB, total=MB)
    assert ask(app, "/_stcore/upload_file/a/b", method="PUT").status == 411
    assert ask(app, "/_stcore/upload_file/a/b", method="DELETE").status == 200
    assert ask(app, "/anything", method="PUT").status == 200
