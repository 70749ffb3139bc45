"""What the server's own log says."""

import io
import logging
import sys
import threading
from collections.abc import Iterator

import pytest

from ui.server_paths import keep_tokens_out_of_logs

TOKEN = "0123456789abcdef" * 2


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is logged from now on."""
    before, written = logging.getLogRecordFactory(), io.StringIO()
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    handler = logging.StreamHandler(written)
    logging.getLogger().addHandler(handler)
    keep_tokens_out_of_logs()
    yield written
    logging.setLogRecordFactory(before)
    logging.getLogger().removeHandler(handler)


def fail() -> None:
    raise OSError(f"/store/workspaces/{TOKEN}/runs is full")


def test_no_token_of_a_workspace_is_logged(log: io.StringIO) -> None:
    try:
        fail()
    except OSError:
        logging.getLogger("of this test").exception("page %s of %s", "Train", TOKEN)
    logging.getLogger("of this test").warning("%d runs", 3)
    logging.getLogger("of this test").warning("%d runs of", TOKEN)
    assert TOKEN not in log.getvalue()
    assert "page Train of …\nTraceback" in log.getvalue()
    assert "OSError: /store/workspaces/…/runs is full\n3 runs\n%d runs of ('…',)\n" in log.getvalue()


def test_of_a_text_of_megabytes_only_the_beginning_is_logged(log: io.StringIO) -> None:
    logger, text = logging.getLogger("of this test"), "x" * 24_000_000
    logger.warning("no fragment %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        logger.exception("page Train")
    logger.warning("%s %s %s", "y" * 1_980, TOKEN, "y" * 100)
    written = log.getvalue()
    assert (len(written) < 30_000, "characters more)" in written, TOKEN[:10] in written) == (True, True, False)


class Failing:
    def __del__(self) -> None:
        fail()


def test_an_error_that_nothing_catches_is_logged_without_the_token(
    log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    Failing()
    try:
        fail()
    except OSError as error:
        sys.excepthook(OSError, error, error.__traceback__)
    assert log.getvalue().count("OSError: /store/workspaces/…/runs is full") == 3
    assert TOKEN not in log.getvalue() + capsys.readouterr().err
