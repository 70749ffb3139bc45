"""How this package starts child processes of its own: their command, the environment that they see, a limit on their memory, and
the messages between them and this process.

A child sees only the variables that it needs. Secrets of the operator (the password of the app, keys of other programs) stay behind.
"""

import json
import os
import re
import resource
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

SOURCE = Path(__file__).parents[1]
"""The folder that holds the package."""
_PASSED = re.compile(
    r"""
    PATH | HOME | USER | LOGNAME | LANG | LANGUAGE | LC_.* | TZ | TMPDIR | TMP | TEMP
    | PYTHON.* | VIRTUAL_ENV | XDG_.*
    | LD_.* | DYLD_.*
    | CUDA_.* | NVIDIA_.* | NCCL_.* | CUBLAS_.* | CUDNN_.* | PYTORCH_.*
    | HF_.* | HUGGINGFACE_.* | HUGGING_FACE_.* | TORCH_.* | TIMM_.*
    | OMP_.* | MKL_.* | KMP_.* | GOMP_.* | OPENBLAS_.* | ORT_.*
    | (?:https?|all|no|ftp)_proxy
    | SSL_CERT_.* | REQUESTS_CA_BUNDLE | CURL_CA_BUNDLE
    | GRAFT_.* | SPACE_ID
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SECRET = re.compile(r".*(?:TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_KEY|ACCESS_KEY)S?", re.IGNORECASE)
HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
"""Variables that hold the operator's key to the Hugging Face Hub."""


def environment(*, hub_tokens: bool = False, **more: str) -> dict[str, str]:
    """The variables that a child of this process gets: those on the list above, and `more`.

    What is named like a secret stays behind, except that `hub_tokens` lets the keys to the Hub through.
    """
    passed = {
        name: value
        for name, value in os.environ.items()
        if _PASSED.fullmatch(name) and (not _SECRET.fullmatch(name) or (hub_tokens and name in HUB_TOKENS))
    }
    # An entry that is empty or relative would mean the child's working folder.
    paths = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    path = [str(SOURCE), *(str(Path(entry).absolute()) for entry in paths)]
    return {**passed, "PYTHONPATH": os.pathsep.join(path), **more}


def command(module: str, *arguments: str) -> list[str]:
    """The command that runs `module` of this package with this interpreter, whatever lies in the child's working folder."""
    # Without -P, -m would look for modules in the working folder first.
    return [sys.executable, "-P", "-m", module, *arguments]


def allow_memory(more: int) -> None:
    """Let this process map `more` bytes beyond what it maps now; asking for more raises MemoryError, or ends the process.

    It can be called again, with another number. Nothing is limited on systems without /proc.
    """
    now = mapped()
    if now:
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        limit = now + more if most == resource.RLIM_INFINITY else min(now + more, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))


def mapped() -> int:
    """Bytes that this process maps; 0 on systems without /proc."""
    statm = _statm()
    return int(os.pread(statm, 100, 0).split()[0]) * resource.getpagesize() if statm is not None else 0


@cache
def _statm() -> int | None:
    """The file in which the system says how much memory this process has, kept open since it is read several times for each picture."""
    with suppress(OSError):
        return os.open("/proc/self/statm", os.O_RDONLY)
    return None


_LENGTHS = struct.Struct("<IQ")


def send(stream: IO[bytes], header: Mapping[str, Any], content: bytes | memoryview = b"") -> None:
    """Write one message between this process and a child: a header of JSON, and bytes."""
    text = json.dumps(header).encode()
    with memoryview(content) as view:
        stream.write(_LENGTHS.pack(len(text), view.nbytes) + text)
        stream.write(view)
    stream.flush()


def receive(stream: IO[bytes], *, most: int | None = None) -> tuple[dict[str, Any], bytes]:
    """Read what the other end sent, which may have `most` bytes.

    Raises:
        EOFError: the other end is gone.
        ValueError: it sent more, or a header that is no JSON object.
    """
    header, content = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    if most is not None and header + content > most:
        raise ValueError(f"a message has {header + content:,} bytes; {most:,} are allowed")
    fields, rest = json.loads(_exactly(stream, header)), _exactly(stream, content)
    if not isinstance(fields, dict):
        raise ValueError("the header of a message is no JSON object")
    return fields, rest


def _exactly(stream: IO[bytes], count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        raise EOFError
    return content
