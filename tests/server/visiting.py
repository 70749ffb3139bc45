"""A visitor of the served app without a browser: its session over the WebSocket, and uploads."""

import http.client
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.conftest import PATIENCE

XSRF = "2|00000000|" + "ab" * 16 + "|1700000000"


def ask(
    address: str,
    path: str = "/",
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of one answer; redirects are not followed."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return (
            answer.status,
            {name.lower(): value for name, value in answer.getheaders()},
            answer.read().decode(errors="replace"),
        )
    finally:
        connection.close()


@dataclass
class Visitor:
    address: str
    socket: ClientConnection
    cookie: str
    session: str = ""
    taken: list[str] = field(default_factory=list)
    choosers: dict[str, str] = field(default_factory=dict)
    """The ids of the open page's file choosers, by label."""
    broken: list[str] = field(default_factory=list)
    """What the pages said of exceptions."""

    def open(self, page: str = "", *states: WidgetState) -> None:
        """Run a page, Home if none is named, with the new states of its widgets, and follow where it leads."""
        message = BackMsg()
        message.rerun_script.query_string = ""
        message.rerun_script.page_name = page
        message.rerun_script.widget_states.widgets.extend(states)
        self.socket.send(message.SerializeToString())
        while True:
            found = ForwardMsg()
            found.ParseFromString(self.socket.recv(PATIENCE))  # type: ignore[arg-type]
            kind = found.WhichOneof("type")
            if kind == "new_session":
                self.session = found.new_session.initialize.session_id
                self.choosers.clear()
            elif kind == "delta":
                chooser = found.delta.new_element.file_uploader
                self.choosers |= {chooser.label: chooser.id} if chooser.id else {}
                self.broken += filter(None, [found.delta.new_element.exception.message])
            elif kind == "script_finished" and found.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                return

    def bring(self, chooser: str, content: bytes) -> WidgetState:
        """Upload a file by a chooser of Data, which is open; the chooser's state that its page was then run with."""
        assert self.upload(content) == 204
        state = WidgetState(id=self.choosers[chooser])
        state.file_uploader_state_value.uploaded_file_info.add(
            name="f.jpg", size=len(content), file_id=self.taken.pop().rpartition("/")[2]
        )
        self.open("Data", state)
        return state

    def upload(self, content: bytes) -> int:
        """The status that the server answers to an upload of this session."""
        body = (
            b'--x\r\nContent-Disposition: form-data; name="f"; filename="f.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
            + content
            + b"\r\n--x--\r\n"
        )
        path = f"/_stcore/upload_file/{self.session}/{uuid.uuid4()}"
        status = self._send("PUT", path, body, **{"Content-Type": "multipart/form-data; boundary=x"})
        if status == 204:
            self.taken.append(path)
        return status

    def remove(self) -> None:
        """Remove all uploads, as the crosses beside them do."""
        while self.taken:
            assert self._send("DELETE", self.taken.pop()) == 204

    def _send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> int:
        given = {"X-Xsrftoken": XSRF, "Cookie": f"_streamlit_xsrf={XSRF}; {self.cookie}", **headers}
        return ask(self.address, path, method=method, body=body, headers=given)[0]


@contextmanager
def visiting(address: str, *, cookie: str = "", **headers: str) -> Iterator[Visitor]:
    """A visitor who has opened Home."""
    url = address.replace("http", "ws") + "/_stcore/stream"
    given = {"Cookie": cookie, **headers} if cookie else headers
    with connect(
        url, subprotocols=[Subprotocol("streamlit")], additional_headers=given, max_size=None, max_queue=None
    ) as socket:
        visitor = Visitor(address, socket, cookie)
        visitor.open()
        assert visitor.session
        yield visitor
