"""A local server in the place of PyTorch's and the hub's, and empty caches of their own for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.sites import COMMIT, CONTENT, PROXIES, SHA256, Site, serving


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for variable in (*PROXIES, "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "GRAFT_WEIGHTS_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with serving() as site:
        site.linked = {"X-Linked-ETag": f'"{SHA256}"', "X-Linked-Size": str(len(CONTENT)), "X-Repo-Commit": COMMIT}
        monkeypatch.setenv("HF_ENDPOINT", site.address)
        yield site
