"""A browser's messages are those that pages send, no one of them stops everybody else, and so many pages are open and no more."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send
from streamlit.proto.BackMsg_pb2 import BackMsg, DeferredFileRequestPayload, InstallSkillsRequestPayload
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

from tests.server.asking import Answer, Clock, Waiting, aask, inner, run, story
from ui.server import messages
from ui.server.messages import MOST_PARTS, Messages, OpenPages


def _told(*sent: bytes | str, **how: Any) -> tuple[list[bytes], list[Message]]:
    """What of the frames that a browser sends reaches Streamlit, and what the browser is answered."""
    coming: list[Message] = [
        {"type": "websocket.receive", "text" if isinstance(frame, str) else "bytes": frame} for frame in sent
    ]
    coming.append({"type": "websocket.disconnect"})
    arrived: list[bytes] = []
    answered: list[Message] = []

    async def streamlit(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "websocket.receive":
            arrived.append(message["bytes"])

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        answered.append(message)

    guard = how.pop("guard", None) or Messages(streamlit, most_files=3, clock=lambda: 0.0)
    run(replace(guard, app=streamlit)({"type": "websocket", **how}, receive, send))
    return arrived, answered


def _run(*files: str) -> bytes:
    message = BackMsg()
    state = message.rerun_script.widget_states.widgets.add(id="chooser").file_uploader_state_value
    for name in files:
        state.uploaded_file_info.add(name=name, size=1, file_id=name).file_urls.upload_url = f"/{name}"
    message.rerun_script.cached_message_hashes.append("a")
    return bytes(message.SerializeToString())


def _backend(**operation: object) -> bytes:
    message = BackMsg()
    message.backend_operation_request.request_id = "1"
    for name, payload in operation.items():
        getattr(message.backend_operation_request, name).CopyFrom(payload)
    return bytes(message.SerializeToString())


def test_what_pages_send_arrives_as_it_was_and_nothing_else_does() -> None:
    wanted = [
        _run("cup.jpg"),
        BackMsg(app_heartbeat=True).SerializeToString(),
        BackMsg(stop_script=True).SerializeToString(),
        _backend(deferred_file=DeferredFileRequestPayload(file_id="bundle")),
    ]
    unwanted = [
        BackMsg(clear_cache=True).SerializeToString(),
        BackMsg(load_git_info=True).SerializeToString(),
        BackMsg(set_run_on_save=True).SerializeToString(),
        BackMsg(debug_shutdown_runtime=True).SerializeToString(),
        _backend(install_skills=InstallSkillsRequestPayload()),
        _backend(),
    ]
    assert _told(*unwanted, *wanted) == (wanted, [])


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("text", 1003),
        (b"", 1002),
        (b"\xff" * 20, 1002),
        (_run("cup.jpg")[:-1], 1002),
        (BackMsg(stop_script=True).SerializeToString() + BackMsg(clear_cache=True).SerializeToString(), 1002),
    ],
)
def test_what_is_no_message_ends_the_connection(frame: bytes | str, code: int) -> None:
    arrived, answered = _told(frame, _run())
    assert not arrived
    assert [(answer["type"], answer["code"]) for answer in answered] == [("websocket.close", code)]


def test_a_page_may_name_as_many_files_as_an_upload_has_and_no_message_has_many_more_parts() -> None:
    many = _run(*map(str, range(messages.MAX_FILES)))
    assert _told(many) == ([many], [])
    widgets, numbers = BackMsg(), BackMsg()
    for _ in range(MOST_PARTS):
        widgets.rerun_script.widget_states.widgets.add()
    numbers.rerun_script.widget_states.widgets.add().int_array_value.data.extend([1] * (MOST_PARTS + 1))
    for message in (widgets, numbers):
        message.rerun_script.page_name = "Data"
        arrived, (answer,) = _told(message.SerializeToString())
        assert (arrived, answer["code"]) == ([], 1009)


def test_a_session_that_sends_messages_as_fast_as_it_can_is_told_and_ends() -> None:
    many = [_run()] * 1_000
    arrived, (answer,) = _told(*many)
    assert len(arrived) == messages.SESSION.at_once
    assert (answer["type"], answer["code"]) == ("websocket.close", 1008)
    assert "too many messages" in answer["reason"]
    assert len(answer["reason"].encode()) <= 123, "a WebSocket can say no more when it closes"


def test_pages_at_work_and_a_quick_hand_are_never_ended_and_many_sessions_of_one_address_are() -> None:
    clock = Clock()
    guard = Messages(inner, clock=clock)
    for _ in range(300):
        clock.now += 1
        arrived, answered = _told(*[_run()] * 9, guard=guard, client=("203.0.113.1", 1))
        assert (len(arrived), answered) == (9, [])
    ended = [_told(*[_run()] * 90, guard=guard, client=("203.0.113.1", 1))[1] for _ in range(12)]
    assert [bool(answer) for answer in ended] == [False] * 11 + [True]
    assert "your network" in ended[-1][0]["reason"]
    assert not _told(*[_run()] * 90, guard=guard, client=("198.51.100.9", 1))[1]
    clock.now += 10
    assert not _told(*[_run()] * 90, guard=guard, client=("203.0.113.1", 1))[1]


def _places(session: str, *names: str) -> ForwardMsg:
    message = BackMsg()
    message.file_urls_request.request_id = "7"
    message.file_urls_request.session_id = session
    message.file_urls_request.file_names.extend(names)
    arrived, (answer,) = _told(message.SerializeToString())
    assert not arrived
    found = ForwardMsg()
    found.ParseFromString(answer["bytes"])
    assert found.file_urls_response.response_id == "7"
    return found


def test_a_chooser_is_told_where_to_send_its_files_and_of_too_many_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    app = SimpleNamespace(uploaded_file_mgr=MemoryUploadedFileManager("/up"), is_active_session="mine".__eq__)
    monkeypatch.setattr(messages, "runtime", SimpleNamespace(get_instance=lambda: app))
    urls = _places("mine", "a", "b", "a").file_urls_response.file_urls
    assert [url.upload_url for url in urls] == [f"/up/mine/{url.file_id}" for url in urls]
    assert len({url.file_id for url in urls}) == 3
    for refused in (_places("mine", *["name"] * 4), _places("x" * 1000, "a")):
        assert refused.file_urls_response.error_msg
        assert not refused.file_urls_response.file_urls


def _opening(app: OpenPages, client: str) -> asyncio.Task[Answer]:
    return asyncio.ensure_future(aask(app, "/_stcore/stream", websocket=True, client=client))


@story
async def test_a_page_that_finds_no_place_is_told_so_and_finds_one_when_another_is_closed() -> None:
    opened = Waiting()
    app = OpenPages(opened, most=3, here=2)
    here = [_opening(app, "203.0.113.1") for _ in range(2)]
    await asyncio.sleep(0)
    refused = await _opening(app, "203.0.113.1")
    assert (refused.status, refused.headers["retry-after"]) == (503, "60")
    assert "from your network" in refused.body
    page = await aask(app, "/Data?workspace=1", client="203.0.113.1", headers={"accept": "text/html"})
    assert page.status == 503
    assert "from your network" in page.body
    assert "Log in" not in page.body
    picture = asyncio.ensure_future(aask(app, "/media/a.png", client="203.0.113.1"))

    elsewhere = _opening(app, "198.51.100.9")
    await asyncio.sleep(0)
    assert "As many pages" in (await _opening(app, "192.0.2.7")).body
    opened.go_on.set()
    assert [(await task).status for task in (*here, elsewhere)] == [101] * 3
    assert (await _opening(app, "203.0.113.1")).status == 101
    assert (await picture).status == 200, "of a page that was open before"


@story
async def test_visitors_of_the_machine_itself_and_of_an_unknown_address_count_together_only() -> None:
    opened = Waiting()
    app = OpenPages(opened, most=3, here=1)
    tasks = [_opening(app, "127.0.0.1") for _ in range(4)]
    assert (await tasks[-1]).status == 503
    assert len(opened.came) == 3
    opened.go_on.set()
    await asyncio.gather(*tasks)
