"""A local web server in the place of PyTorch's and the Hugging Face hub's, and rows of the registry that point to it."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from tl_core.models.registry import Network, network

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
COMMIT = "0123456789" * 4
PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


@dataclass
class Site:
    """What the server does, and what it was asked."""

    content: bytes = CONTENT
    cut_after: int | None = None
    """Bytes of an answer after which the connection is closed."""
    ranges: bool = True
    status: int = 200
    linked: dict[str, str] = field(default_factory=dict)
    """Headers of the answer that sends on from the hub to its storage."""
    asked: list[str | None] = field(default_factory=list)
    """The ranges that the storage was asked for."""
    paths: list[str] = field(default_factory=list)
    keys: dict[str, str | None] = field(default_factory=dict)
    """The key of an account that came with each path."""
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving() -> Iterator[Site]:
    told = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.paths.append(self.path)
            told.keys[self.path] = self.headers.get("Authorization")
            if told.status != 200:
                self.send_error(told.status)
                return
            if "/resolve/" in self.path:
                self.send_response(302)
                for name, value in told.linked.items():
                    self.send_header(name, value)
                self.send_header("Location", f"{told.address}/storage")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            asked = self.headers.get("Range")
            told.asked.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and told.ranges else 0
            if start and start >= len(told.content):
                self.send_error(416)
                return
            body = told.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body[: told.cut_after])
            except ConnectionError:
                return

        def log_message(self, format: str, *args: object) -> None:
            """Quiet: pytest's output is for failures."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield told
    server.shutdown()
    server.server_close()


def torch_row(site: Site, name: str = "resnet18", *, sha256: str | None = None) -> Network:
    """`name` with one set of weights, as torchvision's are: a hash in the file's name."""
    digest = sha256 or SHA256[:8]
    row = network(name)
    weights = row.weights_row().model_copy(
        update={
            "url": f"{site.address}/{name}-{digest}.pth",
            "file": f"{name}-{digest}.pth",
            "sha256": digest,
            "download_bytes": len(CONTENT),
        }
    )
    return row.model_copy(update={"weights": (weights,)})


def hub_row(name: str = "resnet18", *, sha256: str = "") -> Network:
    """`name` with one set of weights on the hub, whose hash and size the registry does not know."""
    row = network(name)
    weights = row.weights_row().model_copy(
        update={
            "url": f"https://huggingface.co/graft/{name}.a1_in1k/resolve/main/model.safetensors",
            "file": "model.safetensors",
            "sha256": sha256,
            "download_bytes": 1_000_000,
        }
    )
    return row.model_copy(update={"weights": (weights,)})
