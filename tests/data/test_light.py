"""The app imports this package: it must not bring the heavy libraries along."""

import subprocess
import sys

from tests.conftest import PATIENCE


def test_reading_pictures_needs_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "from tl_core.data import checks, ingest, samples\n"
        "samples.listing()\n"
        "print([name for name in ('torch', 'torchvision', 'sklearn', 'scipy', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
