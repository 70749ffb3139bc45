"""Which pictures a run's head learns from, and who chooses its settings."""

from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.training.helpers import finish
from tl_core.documents.events import Event
from tl_core.documents.options import Recipe
from tl_core.runs.train import find_head
from tl_core.runs.train.find_head import fitted_head
from tl_core.training.head.fitted import fit_logistic
from tl_core.training.strategies.strategies import strategy

FEATURES, LABELS = load_digits(return_X_y=True)
FEATURES, LABELS = FEATURES[:300].astype(np.float32), LABELS[:300].astype(np.int64)
SPLITS = np.array(["train", "train", "train", "val", "test"])[np.arange(300) // 10 % 5]


def _features(pixels: object) -> Generator[Event, None, np.ndarray]:
    return FEATURES
    yield


def _plan(name: str = "feature_extraction", groups: np.ndarray | None = None, own_splits: bool = False) -> Any:
    return SimpleNamespace(
        features=_features,
        spec=SimpleNamespace(solver="logistic", device="cpu", recipe=Recipe()),
        strategy=strategy(name),
        manifest=SimpleNamespace(own_splits=own_splits),
        network=None,
        weights=SimpleNamespace(name="ImageNet"),
        cache=None,
        labels=LABELS,
        classes=tuple("0123456789"),
        groups=np.arange(300) if groups is None else groups,
        one_moment=(),
        rows=lambda *splits: np.flatnonzero(np.isin(SPLITS, splits)),
    )


def _by_validation() -> np.ndarray:
    train, val = (np.flatnonzero(part == SPLITS) for part in ("train", "val"))
    return finish(fit_logistic(FEATURES, LABELS, train, val, classes=10))[0].weight


def test_a_head_alone_is_chosen_by_cross_validation_over_all_that_is_not_the_test() -> None:
    found, _ = finish(fitted_head(_plan(), np.zeros(0, dtype=np.uint8)))
    assert found.out_of_fold is not None
    assert np.array_equal(found.out_of_fold.rows, np.flatnonzero(SPLITS != "test"))
    assert not np.array_equal(found.head.weight, _by_validation())


def test_only_a_split_of_our_own_is_cross_validated_as_a_whole() -> None:
    ours, _ = finish(fitted_head(_plan(), np.zeros(0, dtype=np.uint8)))
    theirs, _ = finish(fitted_head(_plan(own_splits=True), np.zeros(0, dtype=np.uint8)))
    assert ours.out_of_fold is not None
    assert theirs.out_of_fold is not None
    assert ours.out_of_fold.nested is not None
    assert ours.out_of_fold.nested.shape == (300, 10)
    assert theirs.out_of_fold.nested is None
    assert theirs.out_of_fold.logits.shape == ours.out_of_fold.logits.shape


def test_what_training_starts_from_has_seen_no_validation_picture() -> None:
    found, _ = finish(fitted_head(_plan("lp_ft"), np.zeros(0, dtype=np.uint8)))
    assert found.out_of_fold is None
    assert np.array_equal(found.head.weight, _by_validation())


def test_features_beyond_the_memory_and_a_class_of_one_group_leave_the_choice_to_the_validation_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one_group, _ = finish(
        fitted_head(_plan(groups=np.where(LABELS == 3, 500, np.arange(300))), np.zeros(0, dtype=np.uint8))
    )
    monkeypatch.setattr(find_head, "IN_MEMORY", 1000)
    many, _ = finish(fitted_head(_plan(), np.zeros(0, dtype=np.uint8)))
    for found in (one_group, many):
        assert found.out_of_fold is None
        assert np.array_equal(found.head.weight, _by_validation())
