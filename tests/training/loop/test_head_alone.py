"""The head by gradient steps: as good as the fitted one, watched by the epoch, the same for the same seed."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.training.twin import best_of, finish, spec
from tl_core.documents.events import EpochEnded, Event
from tl_core.evaluation.calibration import calibrated_loss
from tl_core.models.registry import network
from tl_core.training.head.fitted import Head, fit_logistic
from tl_core.training.loop.fit import trained_head
from tl_core.training.strategies.strategies import HEAD_ONLY, strategy

FEATURES, LABELS = load_digits(return_X_y=True)
FEATURES = FEATURES.astype(np.float32) * 0.1 + 3
TRAIN, VAL, UNSEEN = (np.flatnonzero(np.arange(len(LABELS)) % 3 == part) for part in range(3))


def _fit(epochs: int = 12, seed: int = 0, train: np.ndarray = TRAIN, **recipe: object) -> tuple[Head, list[Event]]:
    asked = spec(recipe=recipe, epochs=epochs, batch_size=32, seed=seed)
    rows = network("resnet18"), FEATURES, LABELS, train, VAL
    return finish(trained_head(*rows, classes=10, spec=asked, strategy=strategy(HEAD_ONLY)))


def _right(head: Head, rows: np.ndarray = UNSEEN) -> float:
    return float((head.logits(FEATURES[rows]).argmax(axis=1) == LABELS[rows]).mean())


def test_as_good_as_the_fitted_head_and_the_best_epoch_works_on_raw_features() -> None:
    fitted, _ = finish(fit_logistic(FEATURES, LABELS, TRAIN, VAL, classes=10))
    stepped, events = _fit(learning_rate=1e-2)
    assert _right(stepped) > _right(fitted) - 0.02 > 0.9
    assert [event.epoch for event in events if isinstance(event, EpochEnded)] == list(range(13))
    best = best_of(events)
    assert best.val_accuracy == _right(stepped, VAL)
    assert calibrated_loss(stepped.logits(FEATURES[VAL]), LABELS[VAL]) == pytest.approx(best.val_loss, rel=1e-3)


def test_the_recipe_and_the_seed_make_a_difference_and_the_same_ones_make_none() -> None:
    plain, again, other = (_fit(epochs=2, seed=seed, mixup=0.2)[0].weight for seed in (0, 0, 1))
    assert np.array_equal(plain, again)
    assert not np.allclose(plain, other)
    for recipe in ({"optimizer": "sgd", "learning_rate": 0.1}, {"cutmix": 1.0}, {"class_weights": True}):
        changed, _ = _fit(epochs=2, **recipe)
        assert _right(changed) > 0.8
        assert not np.allclose(changed.weight, plain)
