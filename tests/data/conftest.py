"""Counts decoded pictures for the tests of data sets."""

import pytest

from tl_core.data import guarded, pixels


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the pictures that are decoded, in the process of the test."""
    counted: list[int] = []

    class Counting:
        def make_copy(self, content: bytes, **options: bool) -> pixels.Copy:
            counted.append(1)
            return pixels.make_copy(content, **options)

    monkeypatch.setattr(guarded, "shared", Counting)
    return counted
