"""What the server's own log says."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from ui.server_paths import keep_tokens_out_of_logs

TOKEN = "0123456789abcdef" * 2


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    before, logger, written = logging.getLogRecordFactory(), logging.getLogger("of this test"), io.StringIO()
    handler = logging.StreamHandler(written)
    logger.addHandler(handler)
    keep_tokens_out_of_logs()
    yield written
    logging.setLogRecordFactory(before)
    logger.removeHandler(handler)


def test_no_token_of_a_workspace_is_logged(log: io.StringIO) -> None:
    try:
        raise OSError(f"/store/workspaces/{TOKEN}/runs is full")
    except OSError:
        logging.getLogger("of this test").exception("page %s of %s", "Train", TOKEN)
    logging.getLogger("of this test").warning("%d runs", 3)
    assert TOKEN not in log.getvalue()
    assert "page Train of …\nTraceback" in log.getvalue()
    assert "OSError: /store/workspaces/…/runs is full\n3 runs\n" in log.getvalue()
