"""The Predict page: pictures are decoded outside of the app process, and nobody waits for the pictures of somebody else."""

import io
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from streamlit.testing.v1 import AppTest

from tests.app import records
from tests.app.conftest import Open, press, text
from tests.conftest import PATIENCE, until
from tests.data.strange import telling
from tests.data.test_guarded import STRANGE, decoders_of
from tests.serving.conftest import bundle, graph
from tl_core.data.guarded import Pool, Pools
from tl_core.runs.store.store import Store
from tl_core.serving.bundle import Bundle, read_info
from tl_core.serving.bundle_files import INFO, ONNX
from tl_core.serving.onnx_graph import OnnxSession
from ui import classifier, taking

__all__ = ["bundle", "graph"]

A, B = "a" * 32, "b" * 32
GET_READY = classifier.get_ready


@pytest.fixture
def predict(open_page: Open, bundle: Bundle) -> Callable[[str], AppTest]:
    """Opens the Predict page of a workspace with a classifier that tells red, green and blue apart."""

    def opened(token: str) -> AppTest:
        where = Store.default().workspace(token)
        run = records.run(records.dataset(where))
        shutil.copytree(bundle.folder, run.bundle, dirs_exist_ok=True)
        return open_page("pages/4_Predict.py", workspace=token, run=run.id)

    return opened


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pools]:
    """Two pools in place of the app's, whose decoders do what a picture tells them."""
    both = [Pool(2, module=STRANGE) for _ in range(2)]
    monkeypatch.setattr(classifier, "_POOLS", Pools(both))
    yield classifier._POOLS
    for pool in both:
        pool.close()


def red() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), (230, 20, 20)).save(buffer, "PNG")
    return buffer.getvalue()


def bring(app: AppTest, *contents: bytes) -> AppTest:
    files = [(f"{number}.png", content, "image/png") for number, content in enumerate(contents)]
    return app.file_uploader[0].set_value(files).run()


def test_a_broken_and_a_hostile_picture_are_named_and_the_other_is_answered(
    predict: Callable[[str], AppTest], pools: Pools
) -> None:
    app = bring(predict(A), telling("die SIGSEGV"), red(), b"no picture")
    said = text(app).replace("\\", "")
    assert "### red" in said
    assert "0.png: The picture is damaged" in said
    assert "2.png: The file is not a picture" in said


def test_without_answers_the_page_shows_what_it_tells_apart_and_what_to_do(
    predict: Callable[[str], AppTest], pools: Pools
) -> None:
    app = predict(A)
    assert "It tells 3 classes apart" in text(app)
    assert "Bring a picture, or take one with the camera." in text(app)
    pictures = {image.proto.imgs[0].alt for image in app.get("image")}
    assert pictures == {"3 test pictures", "a picture of cup", "a picture of plate", "a picture of bowl"}
    app.button(key="held-out").click().run()
    assert text(app).count("Never seen in training") == 3
    assert app.toast[0].value == "3 pictures are answered."
    assert "It tells 3 classes apart" not in text(app)
    press(app, "Clear")
    assert "It tells 3 classes apart" in text(app)


def test_below_the_threshold_that_the_bundle_got_meanwhile_the_page_says_not_sure(
    predict: Callable[[str], AppTest], pools: Pools
) -> None:
    app = bring(predict(A), red())
    assert "### red" in text(app)
    assert app.toast[0].value.startswith("**red**: "), "on a phone the answer itself is further down"
    (run,) = Store.default().workspace(A).runs()
    read_info(run.bundle / INFO).model_copy(update={"threshold": 1.0}).write(run.bundle / INFO)
    app = bring(app, red())
    assert "### Not sure" in text(app)
    assert "for red, less than this classifier is to answer with. It could be " in text(app)
    assert "badge[not sure]" not in text(app), "the heading says it"


def test_a_classifier_that_changed_is_checked_again(predict: Callable[[str], AppTest], pools: Pools) -> None:
    app = bring(predict(A), red())
    assert "### red" in text(app)
    (run,) = Store.default().workspace(A).runs()
    (run.bundle / ONNX).write_bytes(b"no graph")
    os.utime(run.bundle / ONNX, (1, 1))
    assert "is damaged or no ONNX file" in text(bring(app, red(), red()))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_workspace_is_answered_while_the_pictures_of_another_one_take_for_ever(
    predict: Callable[[str], AppTest], pools: Pools
) -> None:
    mine, theirs = predict(B), predict(A)
    before = decoders_of(os.getpid())
    slow = threading.Thread(target=bring, args=(theirs, telling("wait"), telling("wait")))
    slow.start()
    until(lambda: len(decoders_of(os.getpid()) - before) == 2)
    hostile = decoders_of(os.getpid()) - before
    assert "### red" in text(bring(mine, red()))
    assert slow.is_alive()
    for decoder in hostile:
        os.kill(decoder, signal.SIGTERM)
    slow.join()


def test_while_others_ask_the_page_says_so_and_keeps_the_pictures(
    predict: Callable[[str], AppTest],
    pools: Pools,
    in_memory: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(classifier, "_PATIENCE", 0)
    app = predict(A)
    with pools.lent("one", 0), pools.lent("two", 0):
        bring(app, red(), red())
        assert "Others are asking at this moment" in app.error[0].value
        assert "### red" not in text(app)
        assert in_memory() == ["0.png", "1.png"], "where GRAFT_UPLOADS_GB counts them"
        app.button(key="held-out").click().run()
        assert "Others are asking at this moment" in app.warning[0].value
    app.button(key="predict-again").click().run()
    assert "### red" in text(app)
    assert not app.error
    assert in_memory() == []


def test_one_classifier_is_opened_at_a_time(
    predict: Callable[[str], AppTest], pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "_PATIENCE", 0)
    mine, theirs = predict(A), predict(B)
    said = []

    def opened(path: Path) -> OnnxSession:
        if not said:
            said.append(bring(theirs, red()).error[0].value)
        return OnnxSession(path)

    monkeypatch.setattr(classifier, "OnnxSession", opened)
    assert "### red" in text(bring(mine, red()))
    assert "Others are asking at this moment" in said[0]
    assert "### red" in text(theirs.button(key="predict-again").click().run())


def test_the_keys_of_the_chooser_come_round(
    predict: Callable[[str], AppTest], pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "_KEYS", 2)
    app, ids = predict(A), set()
    for answers in range(1, 6):
        ids.add(app.file_uploader[0].proto.id)
        bring(app, red())
        assert text(app).count("### red") == answers, "each picture is taken once"
        assert app.file_uploader[0].value == []
    assert len(ids) == 2, "Streamlit notes each until the session ends"


def test_a_workspace_asks_once_at_a_time(
    predict: Callable[[str], AppTest], pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "_PATIENCE", 0)
    one, other = predict(A), predict(B)
    with pools.lent(A, 0):
        assert bring(one, red()).error
        assert "### red" in text(bring(other, red()))


def test_pictures_after_slow_ones_are_left_out_so_that_others_get_their_turn(
    predict: Callable[[str], AppTest], pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "LONGEST", 0.0)
    assert "Bring fewer at a time" in text(bring(predict(A), red())).replace("\\", "")


def test_a_slow_network_has_no_more_time_than_slow_pictures(
    predict: Callable[[str], AppTest], pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, now = predict(A), [0.0]

    def slow(session: OnnxSession, output: str, batch: NDArray[np.uint8], **how: Any) -> NDArray[np.float32]:
        found = run(session, output, batch, **how)
        now[0] += 45 * len(batch)
        return found

    run = OnnxSession.run
    monkeypatch.setattr(OnnxSession, "run", slow)
    monkeypatch.setattr(classifier, "_ARRAYS", 1)
    monkeypatch.setattr(classifier, "time", SimpleNamespace(monotonic=lambda: now[0]))
    said = text(bring(app, red(), red(), red()))
    assert said.count("### red") == 2
    assert said.count("Bring fewer at a time") == 1
    assert now[0] == 90


def test_pictures_go_one_by_one_through_a_network_that_takes_much_memory(
    predict: Callable[[str], AppTest], pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    run = OnnxSession.run

    def noted(session: OnnxSession, output: str, batch: NDArray[np.uint8], **how: Any) -> NDArray[np.float32]:
        sizes.append(len(batch))
        return run(session, output, batch, **how)

    monkeypatch.setattr(OnnxSession, "run", noted)
    monkeypatch.setattr(classifier, "_ARRAYS", 1)
    assert text(bring(predict(A), red(), red(), red())).count("### red") == 3
    assert max(sizes) == 1


@pytest.mark.parametrize("large", ["file", "arrays"])
def test_one_workspace_at_a_time_asks_a_large_classifier(
    predict: Callable[[str], AppTest], pools: Pools, monkeypatch: pytest.MonkeyPatch, large: str
) -> None:
    monkeypatch.setattr(classifier, "_PATIENCE", 0.001)
    mine, theirs = predict(A), predict(B)
    (run,) = Store.default().workspace(A).runs()
    with classifier._alone(classifier._ONE_LARGE):
        assert "### red" in text(bring(theirs, red()))
        size = (run.bundle / ONNX).stat().st_size
        monkeypatch.setattr(classifier, "_LARGE", size - 1 if large == "file" else size)
        assert "Others are asking at this moment" in bring(mine, red()).error[0].value
    assert "### red" in text(mine.button(key="predict-again").click().run())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_decoders_start_once_when_the_page_is_first_opened(
    predict: Callable[[str], AppTest], pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "get_ready", cache(GET_READY.__wrapped__))
    before = decoders_of(os.getpid())
    predict(A), predict(B)
    until(lambda: len(decoders_of(os.getpid()) - before) == 2)
    with pools.lent("one", PATIENCE), pools.lent("two", PATIENCE):
        assert len(decoders_of(os.getpid()) - before) == 2
