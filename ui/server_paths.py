"""Paths of the server in what a page shows: shortened, because they hold tokens and tell strangers how the machine is laid out."""

import logging
import os
import re
import sys
import sysconfig
import tempfile
import threading
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from tl_core.children import SOURCE
from tl_core.errors import GraftError
from tl_core.models.weights.locations import hub_folder, torch_folder
from tl_core.settings import store_folder, weights_folder

_DECIDE = (
    "HOME",
    "GRAFT_STORE",
    "GRAFT_WEIGHTS_DIR",
    "HF_HOME",
    "HF_HUB_CACHE",
    "TORCH_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
)
"""Variables on which the folders depend."""
_TOKEN = re.compile(r"\b[0-9a-f]{32}\b")
_LOG = logging.getLogger(__name__)
_LONGEST_MESSAGE, _LONGEST_TRACEBACK = 2_000, 20_000
"""Characters that are logged."""


def shortened(text: str) -> str:
    """`text` with … for each folder of this server: the store, the workspace in it, weights, Python's packages, the user's home."""
    if "/" not in text:
        return text
    return _folders(tuple(os.environ.get(name) for name in _DECIDE)).sub("…", text)


def shortened_log(text: str) -> str:
    """A log with … for each folder of this server, and without tokens."""
    return without_tokens(shortened(text))


def without_tokens(text: str) -> str:
    """`text` with … for whatever could be the token of a workspace."""
    return _TOKEN.sub("…", text)


def keep_tokens_out_of_logs() -> None:
    """From now on no message and no traceback that this process logs holds a token, since others than a workspace's owner read them, or
    is longer than a line and a page: of what strangers send, only the beginning is logged.

    What Python itself would print, an error that nothing catches, is logged.
    """
    make = logging.getLogRecordFactory()

    def without(*given: Any, **more: Any) -> logging.LogRecord:
        record = make(*given, **more)
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            # It does not fit its arguments, and the handler would print both as they are.
            message = f"{record.msg} {record.args}"
        record.msg, record.args = _beginning(message, _LONGEST_MESSAGE), None
        if record.exc_info:
            # Formatters take this text in place of one that they would make.
            traceback = logging.Formatter().formatException(record.exc_info)
            record.exc_text = _beginning(traceback, _LONGEST_TRACEBACK)
        return record

    def in_thread(given: threading.ExceptHookArgs) -> None:
        if given.exc_type is not SystemExit:
            _LOG.error("a thread ended with an error", exc_info=given.exc_value)

    logging.setLogRecordFactory(without)
    threading.excepthook = in_thread
    sys.excepthook = lambda kind, error, trace: _LOG.critical("the server ended with an error", exc_info=error)
    sys.unraisablehook = lambda given: _LOG.error(
        "%s %r", given.err_msg or "ignored in", given.object, exc_info=given.exc_value
    )


def _beginning(text: str, longest: int) -> str:
    """The beginning of `text`, without tokens; one that stands across its end is left out whole."""
    if len(text) <= longest:
        return without_tokens(text)
    return f"{without_tokens(text[: longest + 32])[:-32]}… ({len(text) - longest:,} characters more)"


@lru_cache(maxsize=16)
def _folders(decided: tuple[str | None, ...]) -> re.Pattern[str]:
    """The folders that are not shown; one that holds another comes behind it. `decided`: values of the variables that name them."""
    packages = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    installed = (tempfile.gettempdir(), *packages)
    folders = {SOURCE, Path.home(), torch_folder(), hub_folder(), *(Path(place) for place in installed if place)}
    places: list[str] = []
    # What is wrong with a setting is shown with the help of this function.
    with suppress(GraftError):
        places.append(f"{re.escape(str(store_folder()))}/workspaces/[0-9a-f]{{32}}")
        folders.add(store_folder())
    with suppress(GraftError):
        folders |= {folder for folder in (weights_folder(),) if folder}
    deepest_first = sorted((str(place) for place in folders if len(place.parts) > 1), key=len, reverse=True)
    places += map(re.escape, deepest_first)
    return re.compile(rf"(?<![\w.~-])(?:{'|'.join(places)})(?=[/\s\"')\],;:]|\.(?:\s|$)|$)")
