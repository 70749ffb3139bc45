"""Backbones compared on real handwriting: a pretrained one, one with random weights, and one that fails."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.runs.conftest import SIZE, SMALL, ended
from tests.runs.executors import InProcess, by
from tests.runs.tasks.conftest import CarryOut
from tl_core.data.cache import Cache
from tl_core.data.split import assign
from tl_core.documents.events import Event, Notice, Progress, StageStarted
from tl_core.documents.tasks import Ranking, RankSpec
from tl_core.models.registry import Network, network
from tl_core.runs import grouping
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import Store, Workspace
from tl_core.runs.tasks import rank
from tl_core.runs.tasks.ask import ask
from tl_core.runs.worker import JOBS
from tl_core.training.frozen.features import features_key
from tl_core.training.transferability import transferability

EACH = 12
Ranked = Callable[..., tuple[Ranking, list[Event]]]


def _small(name: str) -> Network:
    """The row of that name with weights for small pictures, so that a comparison takes a moment."""
    row = network(name)
    weights = row.weights_row().model_copy(update={"input_size": SIZE})
    return row.model_copy(update={"weights": (weights,)})


@pytest.fixture
def cache(backbones: None, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """The store's cache, with both backbones in it; the ranking takes pictures of the size for which they are exported."""
    for module in (rank, grouping):
        monkeypatch.setattr(module, "network", _small)
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
def ranked(workspace: Workspace, digits: DatasetFolder, carry_out: CarryOut) -> Ranked:
    """The ranking of the backbones that are named, and what was said meanwhile."""

    def ranked(*backbones: str) -> tuple[Ranking, list[Event]]:
        task = carry_out(RankSpec(workspace=workspace.token, dataset=digits.id, backbones=backbones, device="cpu"))
        ranking = task.answer(Ranking)
        assert ranking is not None
        return ranking, task.events()[0]

    return ranked


def test_backbones_come_by_their_scores_on_the_training_images_and_one_that_fails_is_noted(
    digits: DatasetFolder, cache: Cache, ranked: Ranked
) -> None:
    ranking, events = ranked(SMALL, "magic", "efficientnet_lite0")
    manifest = digits.manifest()
    train = assign(manifest, 0) == "train"
    labels = np.array([image.label for image in manifest.images])
    for row in ranking.rows:
        key = features_key(manifest, _small(row.backbone), row.weights, SIZE)
        kept = cache.get("features", key)
        assert kept is not None, "a run starts where the comparison ended"
        scores = transferability(np.load(kept)[train], labels[train])
        assert (row.accuracy, row.logme, row.similar) == (scores.accuracy, scores.logme, scores.similar)
        assert row.interval[0] < row.accuracy < row.interval[1]
        assert row.seconds > 0
    assert {row.backbone for row in ranking.rows} == {SMALL, "efficientnet_lite0"}
    assert ranking.rows[0].accuracy > ranking.rows[1].accuracy > 0.5
    assert "magic" in ranking.failed["magic"]
    assert (ranking.classes, ranking.images) == (10, train.sum())
    titles = [event.title for event in events if isinstance(event, StageStarted)]
    assert "efficientnet_lite0, backbone 3 of 3" in titles
    assert any(isinstance(event, Progress) and event.stage == "features" for event in events)
    assert any(isinstance(event, Notice) and "magic" in event.message for event in events)
    turned, _ = ranked("efficientnet_lite0", SMALL)
    assert [row.backbone for row in turned.rows] == [row.backbone for row in ranking.rows]


def test_of_very_many_pictures_a_part_of_every_class_is_looked_at(
    digits: DatasetFolder, cache: Cache, ranked: Ranked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank, "MOST_IMAGES", 60)
    ranking, events = ranked(SMALL)
    assert ranking.images == 60
    assert any(isinstance(event, Notice) and "of every class its share" in event.message for event in events)
    row = _small(SMALL)
    key = features_key(digits.manifest(), row, row.default_weights, SIZE)
    assert cache.get("features", key) is None, "not all pictures were run"


def test_where_no_backbone_can_be_scored_the_reason_is_said(
    workspace: Workspace, digits: DatasetFolder, cache: Cache
) -> None:
    spec = RankSpec(workspace=workspace.token, dataset=digits.id, backbones=("magic",), device="cpu")
    assert "No backbone could be scored. magic: " in ended(by(InProcess(JOBS), ask, workspace, spec))
