"""What a child process of the package sees and may take, and that no library that Graft runs reports to its maker."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PATIENCE
from tl_core import children

SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def seen(**options: object) -> dict[str, str]:
    shown = subprocess.run(
        [sys.executable, "-c", SHOW],
        env=children.environment(**options),  # type: ignore[arg-type]
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(shown.stdout))


def test_a_child_sees_what_it_needs_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = {"OMP_NUM_THREADS": "1", "HF_HOME": "/hf", "https_proxy": "http://proxy", "CUDA_VISIBLE_DEVICES": ""}
    kept = {"AWS_SECRET_ACCESS_KEY": "k", "OPENAI_API_KEY": "k", "GRAFT_PASSWORD": "k", "DATABASE_URL": "k"}
    for name, value in {**passed, **kept, "HF_TOKEN": "k"}.items():
        monkeypatch.setenv(name, value)
    plain = seen(GRAFT_STORE="/store")
    assert passed.items() <= plain.items()
    assert plain["GRAFT_STORE"] == "/store"
    assert not {*kept, "HF_TOKEN"} & plain.keys()
    assert seen(hub_tokens=True)["HF_TOKEN"] == "k"


@pytest.mark.parametrize("given", ["", ":", "/elsewhere:", ".:/elsewhere"])
def test_a_module_in_the_working_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("PYTHONPATH", given)
    for name in ("tl_core.py", "json.py"):
        (tmp_path / name).write_text("raise SystemExit('taken from the working folder')")
    done = subprocess.run(
        children.command("tl_core", "--help"),
        cwd=tmp_path,
        env=children.environment(),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "taken" in done.stderr) == (0, False)


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not keep a limit on memory")
def test_what_a_child_may_take_beyond_what_it_has_can_be_set_again() -> None:
    code = (
        "from tl_core import children\n"
        "children.allow_memory(100_000_000)\n"
        "try: bytearray(200_000_000)\n"
        "except MemoryError: print('refused')\n"
        "children.allow_memory(400_000_000); bytearray(200_000_000); print('allowed')"
    )
    done = subprocess.run([sys.executable, "-c", code], env=children.environment(), capture_output=True, text=True)
    assert done.stdout.split() == ["refused", "allowed"], done.stderr


def test_a_message_arrives_as_it_was_sent_and_half_of_one_is_the_end() -> None:
    stream = io.BytesIO()
    children.send(stream, {"shape": [2, 3]}, memoryview(b"abcdef").cast("B", (2, 3)))
    children.send(stream, {})
    sent = stream.getvalue()
    stream.seek(0)
    assert children.receive(stream) == ({"shape": [2, 3]}, b"abcdef")
    assert children.receive(stream) == ({}, b"")
    for half in (b"", sent[:5], sent[:20]):
        with pytest.raises(EOFError):
            children.receive(io.BytesIO(half))


def test_onnx_runtime_keeps_no_identifier_and_no_reports(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", "import tl_core, onnxruntime"], env=environment, timeout=PATIENCE)
    assert done.returncode == 0
    assert list(tmp_path.rglob("*")) == []
