"""Answers of a bundle: right, in order, whatever the pictures are given as, without torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from tests.serving.conftest import CLASSES, SIZE, spoilt
from tests.serving.hostile_graphs import adding, into_the_answer, node
from tl_core.errors import BundleError, SpecError
from tl_core.evaluation.metrics import probabilities
from tl_core.serving import onnx_graph as module
from tl_core.serving.bundle import Bundle
from tl_core.serving.onnx_graph import OnnxSession
from tl_core.serving.predictor import Predictor, expand

RED, GREEN, BLUE = (230, 20, 20), (20, 230, 20), (20, 20, 230)


def save(path: Path, colour: tuple[int, ...], mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (90, 60), colour).save(path)
    return path


def test_answers_in_order_with_a_broken_file_in_its_place(bundle: Bundle, tmp_path: Path) -> None:
    good = [save(tmp_path / f"{i}.png", (RED, GREEN, BLUE)[i % 3]) for i in range(19)]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    answers = Predictor(bundle).predict([*good[:10], broken, tmp_path / "absent.jpg", *good[10:]])
    assert [a.get("label") for a in answers] == [
        *(CLASSES[i % 3] for i in range(10)),
        None,
        None,
        *(CLASSES[i % 3] for i in range(10, 19)),
    ]
    assert answers[10].keys() == {"file", "error"}
    assert answers[10]["file"] == str(broken)
    assert answers[10]["error"]["kind"] == "unreadable_image"
    assert answers[11]["error"]["kind"] == "not_found"


def test_an_answer_has_the_top_classes_and_their_probabilities(bundle: Bundle) -> None:
    (answer,) = Predictor(bundle).predict([Image.new("RGB", (40, 40), GREEN)], top=2)
    assert answer["label"] == "green"
    assert answer["top"][0]["label"] == "green"
    assert len(answer["top"]) == 2
    assert answer["probability"] == answer["top"][0]["probability"] > answer["top"][1]["probability"]
    (whole,) = Predictor(bundle).predict([Image.new("RGB", (40, 40), GREEN)])
    assert sum(entry["probability"] for entry in whole["top"]) == pytest.approx(1)


def test_one_picture_is_no_list_of_its_letters(bundle: Bundle) -> None:
    with pytest.raises(SpecError, match="takes a list"):
        Predictor(bundle).predict("cat.jpg")


def test_path_text_bytes_and_picture_give_the_same_answer(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 50, 3), dtype=np.uint8)).save(path)
    by_path, by_text, by_bytes, by_image = Predictor(bundle).predict(
        [path, str(path), path.read_bytes(), Image.open(path)]
    )
    assert by_path["top"] == by_text["top"] == by_bytes["top"] == by_image["top"]
    assert by_bytes["file"] == "image 3"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16"])
def test_pictures_of_every_mode_are_taken(bundle: Bundle, mode: str) -> None:
    predictor = Predictor(bundle)
    (answer,) = predictor.predict([Image.new(mode, (40, 30))])
    assert answer["label"] in CLASSES


def test_a_see_through_picture_lies_on_white(bundle: Bundle) -> None:
    assert Predictor(bundle).pixels(Image.new("RGBA", (40, 40), (255, 0, 0, 0))).min() == 255


def test_exif_orientation_of_a_picture_object_is_applied(bundle: Bundle) -> None:
    image = Image.new("RGB", (64, 64), RED)
    image.paste(BLUE, (0, 32, 64, 64))
    image.getexif()[0x0112] = 3
    pixels = Predictor(bundle).pixels(image)
    assert tuple(pixels[2, 2]) == BLUE
    assert tuple(pixels[-3, 2]) == RED


def test_batches_do_not_change_logits(bundle: Bundle) -> None:
    predictor = Predictor(bundle)
    pixels = np.random.default_rng(0).integers(0, 256, (21, 32, 32, 3), dtype=np.uint8)
    logits = predictor.logits(pixels)
    assert logits.shape == (21, 3)
    assert np.allclose(logits, np.concatenate([predictor.logits(pixels[i : i + 1]) for i in range(21)]), atol=1e-5)
    assert predictor.embeddings(pixels).shape == (21, 3)
    assert predictor.logits(pixels[:0]).shape == (0, 3)
    assert np.allclose(probabilities(logits).sum(1), 1)


def test_a_folder_stands_for_its_pictures_without_hidden_ones(tmp_path: Path) -> None:
    inside = [save(tmp_path / name, RED) for name in ("f/a.png", "f/deep/b.PNG")]
    for hidden in ("f/.thumbs/c.png", "f/__MACOSX/d.png", "f/._a.png"):
        save(tmp_path / hidden, RED)
    (tmp_path / "f" / "notes.txt").write_text("x")
    odd = tmp_path / "odd.xyz"
    assert expand([odd, tmp_path / "f"]) == [odd, *inside]


def test_a_graph_whose_answers_are_no_numbers_is_said_in_words(bundle: Bundle) -> None:
    def no_number(model: onnx.ModelProto) -> None:
        scale = next(item for item in model.graph.initializer if item.name == "scale")
        scale.CopyFrom(numpy_helper.from_array(np.float32("nan"), "scale"))

    spoilt(bundle, no_number)
    with pytest.raises(BundleError, match="no numbers"):
        Predictor(bundle.folder).predict([Image.new("RGB", (40, 40), "red")])


@pytest.mark.parametrize("known_beforehand", [True, False])
def test_a_graph_that_takes_for_ever_is_stopped(bundle: Bundle, known_beforehand: bool) -> None:
    steps = adding(
        node("ReduceMean", ["scaled"], ["mean"], keepdims=0),
        node("ConstantOfShape", ["side"], ["step0"])
        if known_beforehand
        else node("Expand", ["mean", "side"], ["step0"]),
        *(node("MatMul", [f"step{number}"] * 2, [f"step{number + 1}"]) for number in range(400)),
        node("ReduceMax", ["step400"], ["nothing"], keepdims=0),
        side=[1500, 1500],
    )
    path = spoilt(bundle, into_the_answer("nothing", steps))
    picture = np.zeros((1, SIZE, SIZE, 3), dtype=np.uint8)
    with pytest.raises(BundleError, match=r"took more than 0\.2 s for 1"):
        OnnxSession(path).run(["logits"], picture, last=True, longest=0.2)


def test_one_picture_object_may_stand_in_many_places(bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)).save(file)
    with Image.open(file) as opened:
        answers = Predictor(bundle).predict([opened] * 40)
    assert len({answer["probability"] for answer in answers}) == 1
    assert not any("error" in answer for answer in answers)


def test_the_memory_of_many_pictures_is_given_back_however_it_ends(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    back: list[bool] = []
    original = module._run_options

    def counting(*, give_memory_back: bool) -> object:
        back.append(give_memory_back)
        return original(give_memory_back=give_memory_back)

    monkeypatch.setattr(module, "_run_options", counting)
    pictures = [Image.new("RGB", (32, 32), (number, 0, 0)) for number in range(20)]
    predictor = Predictor(bundle)
    assert len(predictor.predict([*pictures[:16], b"broken"])) == 17
    assert back == [False, False, True]
    back.clear()
    answers = predictor.answers(pictures)
    next(answers)
    answers.close()
    assert back[-1]


def test_what_is_said_of_a_picture_and_why_takes_one_run_of_the_graph(bundle: Bundle) -> None:
    session = OnnxSession(bundle.onnx)
    runs: list[Sequence[str]] = []

    class Counting:
        def run(self, outputs: Sequence[str], batch: np.ndarray, *, last: bool) -> list[np.ndarray]:
            runs.append(outputs)
            return session.run(outputs, batch, last=last)

    predictor = Predictor(bundle, Counting())
    pixels = predictor.pixels(Image.new("RGB", (40, 40), "red"))
    insight = predictor.insight(pixels)
    assert len(runs) == 1
    assert np.array_equal(insight.embedding, predictor.embeddings(pixels[None])[0])
    assert insight.probabilities.argmax() == 0
