"""The preview of augmentation: a file for every level, picture and copy, made from the data set's own copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import picture
from tests.training.helpers import finish
from tl_core.documents.manifest import ImageEntry, Manifest
from tl_core.documents.questions.before_training import PreviewSpec
from tl_core.errors import DataError, NotFound
from tl_core.training.regularisation.preview import preview


def dataset(folder: Path, count: int = 3) -> Manifest:
    """Three pictures under images/ of `folder`, as ingest leaves them."""
    (folder / "images").mkdir(parents=True)
    entries = []
    for row in range(count):
        picture(row, 0).save(folder / "images" / f"{row:05}.png")
        entries.append(
            ImageEntry(sha256=f"{row:064x}", label=row, name=f"{row}.png", file=f"{row:05}.png", width=64, height=48)
        )
    classes = tuple("abcdef"[:count])
    return Manifest(name="three", created=0.0, source="test", classes=classes, images=tuple(entries))


def _spec(*rows: int, copies: int = 2) -> PreviewSpec:
    return PreviewSpec(workspace="0" * 32, dataset="d", rows=rows, copies=copies, image_size=48)


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(float)


def test_every_level_of_every_chosen_picture_can_be_seen(tmp_path: Path) -> None:
    manifest, answer = dataset(tmp_path), tmp_path / "answer"
    answer.mkdir()
    finish(preview(tmp_path, manifest, _spec(0, 2), answer))
    levels = ("none", "light", "medium", "strong")
    assert {path.name for path in answer.iterdir()} == {
        f"{level}-{row}-{copy}.jpg" for level in levels for row in (0, 2) for copy in (0, 1)
    }
    assert _pixels(answer / "none-2-0.jpg").shape == (48, 48, 3)
    assert np.array_equal(_pixels(answer / "none-2-0.jpg"), _pixels(answer / "none-2-1.jpg"))
    for level in levels[1:]:
        assert np.abs(_pixels(answer / f"{level}-2-0.jpg") - _pixels(answer / f"{level}-2-1.jpg")).mean() > 3


def test_the_same_question_has_the_same_answer(tmp_path: Path) -> None:
    manifest = dataset(tmp_path)
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        finish(preview(tmp_path, manifest, _spec(1), tmp_path / name))
        files.append((tmp_path / name / "strong-1-1.jpg").read_bytes())
    assert files[0] == files[1]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    manifest = dataset(tmp_path)
    with pytest.raises(NotFound, match="number 3"):
        finish(preview(tmp_path, manifest, _spec(3), tmp_path))
    (tmp_path / "images" / "00001.png").unlink()
    with pytest.raises(DataError, match=r"1\.png"):
        finish(preview(tmp_path, manifest, _spec(1), tmp_path))
