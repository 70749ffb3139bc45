"""Backbones compared on real handwriting: a pretrained one, one with random weights, and one that fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.runs.conftest import SIZE, SMALL
from tests.runs.executors import InProcess, by
from tests.training.helpers import finish
from tl_core.data.cache import Cache
from tl_core.data.split import assign
from tl_core.documents.events import Notice, Progress, StageStarted
from tl_core.documents.questions.about_backbones import RankSpec
from tl_core.errors import ModelError
from tl_core.models.registry import Network, network
from tl_core.runs.questions import ranking
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import Store, Workspace
from tl_core.runs.worker import JOBS
from tl_core.training.frozen.features import features_key
from tl_core.training.transferability import transferability

EACH = 12


def _small(name: str) -> Network:
    """The row of that name with weights for small pictures, so that a comparison takes a moment."""
    row = network(name)
    weights = row.weights_row().model_copy(update={"input_size": SIZE})
    return row.model_copy(update={"weights": (weights,)})


@pytest.fixture
def cache(backbones: None, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """The store's cache, with both backbones in it; the ranking takes pictures of the size for which they are exported."""
    monkeypatch.setattr(ranking, "network", _small)
    return Store.default().cache


@pytest.fixture
def digits(workspace: Workspace, tmp_path: Path) -> DatasetFolder:
    known = load_digits()
    for digit in range(10):
        (tmp_path / "digits" / str(digit)).mkdir(parents=True)
        for index in np.flatnonzero(known.target == digit)[:EACH]:
            picture = Image.fromarray((known.images[index] * 15).astype(np.uint8)).resize((64, 64))
            picture.save(tmp_path / "digits" / str(digit) / f"{index}.png")
    return by(
        InProcess(JOBS), jobs.submit_ingest, workspace, source_kind="folder", source=tmp_path / "digits", name="Digits"
    )


@pytest.fixture
def question(workspace: Workspace, digits: DatasetFolder) -> Callable[..., RankSpec]:
    def ask(*backbones: str) -> RankSpec:
        return RankSpec(workspace=workspace.token, dataset=digits.id, backbones=backbones, device="cpu")

    return ask


def test_backbones_come_by_their_scores_on_the_training_images_and_one_that_fails_is_noted(
    digits: DatasetFolder, cache: Cache, question: Callable[..., RankSpec]
) -> None:
    found, events = finish(ranking.rank(question(SMALL, "magic", "efficientnet_lite0"), digits, cache))
    manifest = digits.manifest()
    train = assign(manifest, 0) == "train"
    labels = np.array([image.label for image in manifest.images])
    for row in found.rows:
        key = features_key(manifest, _small(row.backbone), row.weights, SIZE)
        kept = cache.get("features", key)
        assert kept is not None, "a run starts where the comparison ended"
        scores = transferability(np.load(kept)[train], labels[train])
        assert (row.accuracy, row.logme, row.similar) == (scores.accuracy, scores.logme, scores.similar)
        assert row.interval[0] < row.accuracy < row.interval[1]
        assert row.seconds > 0
    assert {row.backbone for row in found.rows} == {SMALL, "efficientnet_lite0"}
    assert found.rows[0].accuracy > found.rows[1].accuracy > 0.5
    assert "magic" in found.failed["magic"]
    assert (found.classes, found.images) == (10, train.sum())
    titles = [event.title for event in events if isinstance(event, StageStarted)]
    assert "efficientnet_lite0, backbone 3 of 3" in titles
    assert any(isinstance(event, Progress) and event.stage == "features" for event in events)
    assert any(isinstance(event, Notice) and "magic" in event.message for event in events)
    turned, _ = finish(ranking.rank(question("efficientnet_lite0", SMALL), digits, cache))
    assert [row.backbone for row in turned.rows] == [row.backbone for row in found.rows]


def test_of_very_many_pictures_a_part_of_every_class_is_looked_at(
    digits: DatasetFolder, cache: Cache, question: Callable[..., RankSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "MOST_IMAGES", 60)
    found, events = finish(ranking.rank(question(SMALL), digits, cache))
    assert found.images == 60
    assert any(isinstance(event, Notice) and "of every class its share" in event.message for event in events)
    row = _small(SMALL)
    key = features_key(digits.manifest(), row, row.default_weights, SIZE)
    assert cache.get("features", key) is None, "not all pictures were run"


def test_where_no_backbone_can_be_scored_the_reason_is_said(
    digits: DatasetFolder, cache: Cache, question: Callable[..., RankSpec]
) -> None:
    with pytest.raises(ModelError, match="'magic'"):
        finish(ranking.rank(question("magic"), digits, cache))
