"""Uploads in the app's memory have a total, whoever sends them."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send
from streamlit.elements.lib.file_uploader_utils import enforce_filename_restriction
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from tests.browser.conftest import serving
from tests.server.asking import Answer, Waiting, aask, ask, inner, story
from tests.server.visiting import visiting
from ui.server import upload_ceiling
from ui.server.upload_ceiling import Pace, UploadCeiling

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


@story
async def test_what_is_still_on_its_way_counts_and_no_byte_of_the_rest_is_read() -> None:
    slow = Waiting()
    app = UploadCeiling(slow, session=10 * MB, total=20 * MB)
    first = _put(app, "a", 8 * MB)
    second = _put(app, "b", 9 * MB, client="203.0.113.2")
    await asyncio.sleep(0)
    assert len(slow.came) == 2
    assert (await _put(app, "a", 3 * MB)).status == 413
    waiting = await _put(app, "c", 4 * MB, client="203.0.113.3")
    assert (waiting.status, waiting.headers["retry-after"]) == (503, "60")
    assert len(slow.came) == 2
    slow.go_on.set()
    assert [(await first).status, (await second).status] == [200, 200]
    assert (await _put(app, "c", 4 * MB, client="203.0.113.3")).status == 200


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> MemoryUploadedFileManager:
    """Where Streamlit keeps files, as the ceiling finds it after the first upload."""
    files = MemoryUploadedFileManager("")
    there = SimpleNamespace(exists=lambda: True, get_instance=lambda: SimpleNamespace(uploaded_file_mgr=files))
    monkeypatch.setattr(upload_ceiling, "runtime", there)
    monkeypatch.setattr(upload_ceiling, "_tell", lambda session, text: None)
    app = UploadCeiling(inner, session=MB, total=MB)
    ask(app, "/_stcore/upload_file/a/b", method="PUT", headers={"content-length": "1"})
    return files


@story
async def test_a_file_that_is_sent_several_times_at_once_counts_each_time(kept: MemoryUploadedFileManager) -> None:
    slow = Waiting()
    app = UploadCeiling(slow, session=10 * MB, total=20 * MB)
    kept.add_file("a", UploadedFileRec("file", "cup.jpg", "image/jpeg", bytes(3 * MB)))
    reading = [_put(app, "a", 3 * MB, file="file") for _ in range(3)]
    await asyncio.sleep(0)
    slow.go_on.set()
    assert [(await task).status for task in reading] == [200, 200, 413]


def test_a_name_with_a_nul_is_kept_without_it(kept: MemoryUploadedFileManager) -> None:
    """Streamlit raises an error for such a name, which ended in a traceback in the log."""
    kept.add_file("a", UploadedFileRec("file", "c\0up.jpg", "image/jpeg", b""))
    (file,) = kept.get_files("a", ["file"])
    enforce_filename_restriction(file.name, [".jpg"])
    assert file.name == "c up.jpg"


@story
async def test_visitors_from_one_place_leave_room_for_the_others() -> None:
    slow = Waiting()
    app = UploadCeiling(slow, session=5 * MB, total=20 * MB)
    many = [_put(app, f"session-{number}", 5 * MB) for number in range(2)]
    await asyncio.sleep(0)
    refused = await _put(app, "session-3", 5 * MB)
    assert refused.status == 503
    assert "your network" in refused.body
    other = _put(app, "somebody", 5 * MB, client="198.51.100.9")
    await asyncio.sleep(0)
    slow.go_on.set()
    assert [(await task).status for task in (*many, other)] == [200, 200, 200]


def test_small_files_count_with_their_names_and_are_limited_in_number(kept: MemoryUploadedFileManager) -> None:
    app = UploadCeiling(inner, session=MB, total=2 * MB, files=100)

    def status(session: str) -> int | None:
        return ask(app, f"/_stcore/upload_file/{session}/x", method="PUT", headers={"content-length": "200"}).status

    for number in range(60):
        kept.add_file("names", UploadedFileRec(f"{number}", "n" * 20_000, "image/jpeg", b""))
    for number in range(100):
        kept.add_file("many", UploadedFileRec(f"{number}", "cup.jpg", "image/jpeg", b""))
    for _ in range(1000):
        kept.add_file("one", UploadedFileRec("again", "cup.jpg", "image/jpeg", bytes(500)))
    assert [status(session) for session in ("names", "many", "one")] == [413, 413, 200]
    for number in range(10):
        kept.remove_file("many", f"{number}")
    kept.remove_session_files("names")
    assert [status(session) for session in ("names", "many")] == [200, 200]


async def _read(request: Request) -> Response:
    await request.body()
    return Response("the app")


@pytest.mark.parametrize("pace", [Pace(quiet=0.01), Pace(quiet=1000, free=0, slowest=1e9)])
def test_an_upload_that_hardly_comes_is_ended_and_leaves_its_place(pace: Pace) -> None:
    app = UploadCeiling(
        Starlette(routes=[Route("/_stcore/upload_file/a/b", _read, methods=["PUT"])]), session=MB, total=MB, pace=pace
    )
    announced = {"content-length": str(MB)}
    for _ in range(2):
        ended = ask(app, "/_stcore/upload_file/a/b", method="PUT", headers=announced, body=[b"x"], whole=False)
        assert ended.status == 408
        assert "too slowly" in ended.body
    assert ask(app, "/_stcore/upload_file/a/b", method="PUT", headers=announced).status == 200


def test_a_slow_line_is_waited_for_and_a_large_upload_that_would_take_the_day_is_not() -> None:
    pace = Pace()
    assert pace.left(size=4 * MB, came=0, seconds=0) == 30
    assert pace.left(size=4 * MB, came=MB, seconds=100) == 30
    assert pace.left(size=500 * MB, came=MB, seconds=100) < 0
    assert pace.left(size=4 * MB, came=MB, seconds=300) < 0


@story
async def test_a_folder_whose_files_come_all_at_once_over_a_slow_line_is_taken() -> None:
    files, passed, loop = 100, 0.0, asyncio.get_running_loop()
    together, monotonic = asyncio.Barrier(files), loop.time
    loop.time = lambda: monotonic() + passed  # type: ignore[method-assign]

    app = UploadCeiling(inner, session=10 * MB, total=20 * MB)

    async def slow_line(scope: Scope, receive: Receive, send: Send) -> None:
        async def part() -> Message:
            nonlocal passed
            if await together.wait() == 0:
                passed += 20
            return await receive()

        await app(scope, part, send)

    how: dict[str, Any] = {"method": "PUT", "headers": {"content-length": "48000"}, "body": [bytes(4_000)] * 12}
    uploads = (aask(slow_line, f"/_stcore/upload_file/a/{number}", **how) for number in range(files))
    assert [answer.status for answer in await asyncio.gather(*uploads)] == [200] * files


@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        ("/_stcore/upload_file/a/b", "PUT", {"content-length": "10", "transfer-encoding": "chunked"}, 400),
        ("/_stcore/upload_file/a/b", "PUT", {}, 411),
        ("/_stcore/upload_file/a/b", "DELETE", {}, 200),
        ("/anything", "PUT", {}, 200),
    ],
)
def test_an_upload_that_does_not_say_its_size_is_refused(
    path: str, method: str, headers: dict[str, str], status: int
) -> None:
    app = UploadCeiling(inner, session=MB, total=MB)
    assert ask(app, path, method=method, headers=headers).status == status
