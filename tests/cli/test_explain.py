"""The command `explain`, on the run that all tests of the command line look at, and on a bundle whose heat takes torch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.conftest import Terminal, Trained
from tests.conftest import picture
from tests.models.table import make_shallow, small_size
from tests.serving.conftest import SPLIT, bundle_info
from tl_core.models.graphs.edit import attach_head
from tl_core.models.graphs.from_torch import export_backbone
from tl_core.models.registry import network
from tl_core.serving.bundle import Bundle, write_bundle


def test_the_heat_of_the_answer_and_of_another_class_is_written(
    trained: Trained, tmp_path: Path, terminal: Terminal
) -> None:
    file, out, other = trained.data / "apple" / "000.jpg", tmp_path / "why.png", tmp_path / "kirsche.png"
    said = terminal.json("explain", str(trained.run_dir), str(file), "--out", str(out))
    assert said["class"] == said["label"] == said["top"][0]["label"]
    assert said["method"] == "class activation"
    assert 0 < said["peak"]["x"] < 1
    assert 0 < said["peak"]["y"] < 1
    with Image.open(file) as original, Image.open(out) as drawn:
        assert abs(drawn.width / drawn.height - original.width / original.height) < 0.02
        first = np.asarray(drawn.convert("RGB"))
    wanted = ["--class", "Kirsche"]
    assert terminal.json("explain", trained.run_dir / "bundle", file, "--out", other, *wanted)["class"] == "Kirsche"
    assert "is there already" in terminal.err("explain", str(trained.run_dir), str(file), "--out", str(out))
    with Image.open(other) as drawn:
        assert not np.array_equal(first, np.asarray(drawn.convert("RGB")))


def test_it_says_in_words_where_the_evidence_lies(trained: Trained, tmp_path: Path, terminal: Terminal) -> None:
    file, out = trained.data / "apple" / "001.jpg", tmp_path / "why.png"
    said = terminal.out("explain", str(trained.run_dir), str(file), "--out", str(out))
    assert "from the left and" in said
    assert "no proof" in said


@pytest.mark.parametrize(
    ("image", "more", "kind", "words"),
    [
        ("apple/nothing.jpg", (), "not_found", "nothing.jpg"),
        ("apple/broken.jpg", (), "unreadable_image", ""),
        ("apple/000.jpg", ("--class", "aple"), "unknown_name", "apple"),
    ],
)
def test_what_cannot_be_explained_is_said_in_words(
    image: str,
    more: tuple[str, ...],
    kind: str,
    words: str,
    trained: Trained,
    tmp_path: Path,
    terminal: Terminal,
) -> None:
    out = tmp_path / "why.png"
    arguments = ["explain", str(trained.run_dir), str(trained.data / image), "--out", str(out), *more]
    error = terminal.json(*arguments, code=2)["error"]
    assert error["kind"] == kind
    assert words in error["message"]
    assert not out.exists()


def test_an_output_that_is_no_png_is_refused_before_anything_is_opened(tmp_path: Path, terminal: Terminal) -> None:
    assert (
        "why.gif cannot be written"
        in terminal.json("explain", str(tmp_path / "no-run"), "a.jpg", "--out", str(tmp_path / "why.gif"), code=2)[
            "error"
        ]["message"]
    )


@pytest.fixture(scope="module")
def hidden_layer(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of a network with a hidden layer between its map and its head."""
    folder = tmp_path_factory.mktemp("hidden")
    row = network("mobilenet_v3_small")
    backbone = make_shallow(row)
    assert backbone.head is not None
    export_backbone(backbone, small_size(row), folder / "backbone.onnx")
    weight, bias = backbone.head.weight.detach().numpy(), backbone.head.bias.detach().numpy()
    attach_head(folder / "backbone.onnx", weight, bias, folder / "whole.onnx")
    info = bundle_info(
        backbone=row.name,
        classes=tuple("abcdefg"),
        image_size=small_size(row),
        embedding_size=row.embedding_size,
        linear_on_pooled=False,
    )
    whole = network_tensors(row.name, backbone.tensors())
    return write_bundle(folder / "bundle", info=info, split=SPLIT, onnx=folder / "whole.onnx", tensors=whole)


def network_tensors(name: str, kept: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Those of the whole network, of which a shallow one has a part."""
    from tl_core.models.build import build

    whole = build(network(name), weights=None, classes=7, like=None).tensors() | kept
    return {key: value.numpy() for key, value in whole.items()}


def test_networks_with_a_hidden_layer_are_explained_by_gradients(
    hidden_layer: Bundle, tmp_path: Path, terminal: Terminal
) -> None:
    picture(0, 0).save(tmp_path / "a.jpg")
    out = tmp_path / "why.png"
    said = terminal.json("explain", str(hidden_layer.folder), str(tmp_path / "a.jpg"), "--out", str(out))
    assert said["method"] == "gradients"
    assert out.is_file()


def test_a_network_that_is_not_known_here_cannot_be_explained(
    hidden_layer: Bundle, tmp_path: Path, terminal: Terminal
) -> None:
    text = (hidden_layer.folder / "bundle.json").read_text().replace("mobilenet_v3_small", "nobodys_net")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for file in hidden_layer.folder.iterdir():
        (foreign / file.name).hardlink_to(file)
    (foreign / "bundle.json").unlink()
    (foreign / "bundle.json").write_text(text)
    picture(0, 0).save(tmp_path / "a.jpg")
    out = str(tmp_path / "why.png")
    error = terminal.json("explain", str(foreign), str(tmp_path / "a.jpg"), "--out", out, code=2)["error"]
    assert error["kind"] == "bundle"
    assert "nobodys_net cannot be built here" in error["message"]
