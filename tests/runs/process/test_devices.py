"""Which device a run gets on this machine, and how it computes there."""

from __future__ import annotations

import importlib.util
import platform
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from tl_core.errors import UnknownName
from tl_core.runs.process import devices


@pytest.mark.parametrize(
    ("built_for", "gpus", "device"),
    [("cuda: str | None = '12.8'", 1, "cuda"), ("cuda: str | None = '12.8'", 0, "cpu"), ("cuda = None", 1, "cpu")],
)
def test_a_gpu_is_taken_where_the_driver_has_one_and_pytorch_was_built_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built_for: str, gpus: int, device: str
) -> None:
    (tmp_path / "version.py").write_text(f"__version__ = '2.9'\n{built_for}\n")
    torch = ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: torch)
    monkeypatch.setattr(devices, "gpu_count", lambda: gpus)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    devices.detect_device.cache_clear()
    found = devices.resolve_device("auto")
    devices.detect_device.cache_clear()
    assert found == device


def test_an_unknown_device_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="cpu"):
        devices.resolve_device("tpu")


@pytest.mark.parametrize(
    ("generation", "precision"), [(9, "bfloat16"), (8, "bfloat16"), (7, "float32"), (0, "float32")]
)
def test_a_gpu_without_bfloat16_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch, generation: int, precision: str
) -> None:
    devices.computes.cache_clear()
    monkeypatch.setattr(devices, "gpu_generation", lambda: generation)
    assert devices.computes("cuda").precision == precision
    devices.computes.cache_clear()
