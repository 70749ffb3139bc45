"""The graph of a bundle from elsewhere: checked and run in a process with limited memory and time, with the same answers."""

import gc
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tl_core
from tests.serving.conftest import SIZE, spoilt
from tests.serving.hostile_graphs import ENDLESS_INSIDE, ENDLESS_TO_OPEN, GREEDY_INSIDE, REFUSED
from tl_core.errors import BundleError
from tl_core.serving import child_session
from tl_core.serving.bundle import Bundle, to_zip
from tl_core.serving.child_session import ChildSession
from tl_core.serving.onnx_graph import Ends
from tl_core.serving.predictor import Predictor

ENDS = Ends(classes=3, image_size=SIZE, embedding_size=3)
PICTURES = np.zeros((1, SIZE, SIZE, 3), np.uint8)
GREEDY = (
    "doubled words",
    "doubled shapes",
    "sides without end",
    "60,000 operators",
    "empty operators",
    "shape without values",
    "greedy by the dozen",
    "sparse",
)


def test_a_bundle_from_elsewhere_answers_as_in_this_process(bundle: Bundle, tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (40, 40), colour) for colour in ("red", "lime", "blue")]
    here = Predictor(bundle)
    for place in (bundle.folder, to_zip(bundle.folder, tmp_path / "b.zip")):
        apart = tl_core.load(place)
        assert apart.predict(pictures) == here.predict(pictures)
        pixels = np.stack([apart.pixels(picture) for picture in pictures])
        assert np.array_equal(apart.embeddings(pixels), here.embeddings(pixels))
        assert np.array_equal(apart.insight(pixels[0]).evidence, here.insight(pixels[0]).evidence)
        assert apart.logits(pixels[:0]).shape == (0, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_no_hostile_graph_takes_much_memory(bundle: Bundle) -> None:
    session = ChildSession()
    for spoil, words in map(REFUSED.__getitem__, GREEDY):
        with pytest.raises(BundleError, match=words):
            session.open(spoilt(bundle, spoil, "spoilt.onnx"), ENDS)
    (peak,) = (
        int(line.split()[1])
        for line in Path(f"/proc/{session._child.pid}/status").read_text().splitlines()
        if "VmHWM" in line
    )
    assert peak < 250_000, "kilobytes"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_an_operator_that_takes_too_much_memory_to_work_is_refused(bundle: Bundle) -> None:
    session = ChildSession()
    session.open(spoilt(bundle, GREEDY_INSIDE), ENDS)
    with pytest.raises(BundleError, match="more memory"):
        session.run(["logits"], PICTURES, last=True)


def test_a_small_graph_that_takes_for_ever_to_open_is_stopped_within_seconds(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, factor = child_session.OPENING
    assert base + factor * 100_000 < 15
    monkeypatch.setattr(child_session, "OPENING", (1.0, factor))
    with pytest.raises(BundleError, match="s to be opened and was stopped"):
        ChildSession().open(spoilt(bundle, ENDLESS_TO_OPEN), ENDS)


def test_an_operator_that_takes_for_ever_is_stopped(bundle: Bundle) -> None:
    def answer() -> None:
        # Where the machine is slow, opening takes too long already.
        session.open(path, ENDS)
        session.run(["logits"], PICTURES, last=True)

    session, path = ChildSession(longest=0.2), spoilt(bundle, ENDLESS_INSIDE)
    with pytest.raises(BundleError, match=r"more than 0\.2 s"):
        answer()


def test_a_process_that_was_killed_is_replaced(bundle: Bundle) -> None:
    session = ChildSession()
    session.open(bundle.onnx, ENDS)
    before = session.run(["logits"], PICTURES, last=True)
    killed = session._child.pid
    os.kill(killed, signal.SIGKILL)
    os.waitid(os.P_PID, killed, os.WEXITED | os.WNOWAIT)
    assert np.array_equal(session.run(["logits"], PICTURES, last=True), before)
    assert session._child.pid != killed


def test_a_graph_that_was_refused_is_not_run_and_no_other_in_its_place(bundle: Bundle) -> None:
    session = ChildSession()
    with pytest.raises(BundleError, match="not opened"):
        session.run(["logits"], PICTURES, last=True)
    session.open(bundle.onnx, ENDS)
    with pytest.raises(BundleError, match="versions"):
        session.open(spoilt(bundle, REFUSED["old operators"][0]), ENDS)
    with pytest.raises(BundleError, match="not opened"):
        session.run(["logits"], PICTURES, last=True)


def test_the_process_ends_with_the_classifier(bundle: Bundle) -> None:
    session = ChildSession()
    pid = session._child.pid
    del session
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
