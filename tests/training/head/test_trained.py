"""The head by gradient steps: as good as the fitted one, watched by the epoch, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.training.helpers import finish
from tests.training.twin import spec
from tl_core.documents.events import EpochEnded, Event, Notice
from tl_core.training.head.fitted import Head, calibrated_loss, fit_logistic
from tl_core.training.head.trained import fit_by_steps

FEATURES, LABELS = load_digits(return_X_y=True)
FEATURES = FEATURES.astype(np.float32) * 0.1 + 3
PART = np.arange(len(LABELS)) % 3
TRAIN, VAL, UNSEEN = ((FEATURES[part == PART], LABELS[part == PART]) for part in range(3))


def _fit(epochs: int = 12, seed: int = 0, train: tuple[np.ndarray, np.ndarray] = TRAIN, **recipe: object):  # type: ignore[no-untyped-def]
    return finish(
        fit_by_steps(*train, *VAL, classes=10, spec=spec(recipe=recipe, epochs=epochs, batch_size=32, seed=seed))
    )


def _accuracy(head: Head) -> float:
    return float((head.logits(UNSEEN[0]).argmax(axis=1) == UNSEEN[1]).mean())


def _curve(events: list[Event]) -> list[EpochEnded]:
    return [event for event in events if isinstance(event, EpochEnded)]


def test_as_good_as_the_fitted_head() -> None:
    fitted, _ = finish(fit_logistic(*TRAIN, *VAL, classes=10))
    stepped, events = _fit(learning_rate=1e-2)
    assert _accuracy(stepped) > _accuracy(fitted) - 0.02 > 0.9
    assert [point.epoch for point in _curve(events)] == list(range(13))


def test_the_best_epoch_is_returned_and_works_on_raw_features() -> None:
    head, events = _fit()
    best = min(_curve(events), key=lambda point: point.val_loss)
    assert (head.val_loss, head.val_accuracy) == (best.val_loss, best.val_accuracy)
    logits = head.logits(VAL[0])
    assert (logits.argmax(axis=1) == VAL[1]).mean() == best.val_accuracy
    assert calibrated_loss(logits, VAL[1]) == pytest.approx(best.val_loss, rel=1e-3)


def test_same_seed_same_head() -> None:
    one, two, other = (_fit(epochs=2, seed=seed, mixup=0.2)[0] for seed in (0, 0, 1))
    assert np.array_equal(one.weight, two.weight)
    assert not np.array_equal(one.weight, other.weight)


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "sgd", "learning_rate": 0.1},
        {"mixup": 0.4},
        {"label_smoothing": 0.1},
        {"ema": 0.9},
        {"schedule": "constant", "warm_up": 0.0, "clip": 0.0},
    ],
)
def test_every_setting_learns_and_makes_a_difference(recipe: dict[str, object]) -> None:
    changed, _ = _fit(epochs=6, **recipe)
    assert _accuracy(changed) > 0.88
    assert not np.allclose(changed.weight, _fit(epochs=6)[0].weight)


def test_decay_keeps_weights_small() -> None:
    free, held = (_fit(epochs=4, learning_rate=1e-2, weight_decay=decay)[0] for decay in (0.0, 1.0))
    assert np.linalg.norm(held.weight) < 0.9 * np.linalg.norm(free.weight)


def test_class_weights_find_more_of_a_rare_class() -> None:
    labels = TRAIN[1]
    rare = np.flatnonzero(labels == 8)[4:]
    kept = np.setdiff1d(np.arange(len(labels)), rare)
    train = (TRAIN[0][kept], labels[kept])
    plain, weighted = (_fit(epochs=4, train=train, class_weights=weights)[0] for weights in (False, True))
    eights = UNSEEN[0][UNSEEN[1] == 8]
    found, more = ((head.logits(eights).argmax(axis=1) == 8).sum() for head in (plain, weighted))
    assert more > found


def test_training_of_the_head_ends_when_patience_is_over() -> None:
    _, events = _fit(epochs=200, learning_rate=0.5, patience=2)
    curve = _curve(events)
    best = max(point.epoch for point in curve if point.best)
    assert curve[-1].epoch == best + 2 < 200
    assert isinstance(events[-1], Notice)


def test_a_class_without_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="9 of 10"):
        _fit(train=(TRAIN[0][TRAIN[1] > 0], TRAIN[1][TRAIN[1] > 0]))
