"""No library that Graft runs reports to its maker."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import PATIENCE


def test_onnx_runtime_keeps_no_identifier_and_no_reports(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", "import tl_core, onnxruntime"], env=environment, timeout=PATIENCE)
    assert done.returncode == 0
    assert list(tmp_path.rglob("*")) == []
