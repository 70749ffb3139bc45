"""What the settings of a recipe do to training: each of them has an effect that can be seen."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import softmax

from tests.training.tower import inputs_after, tower
from tests.training.twin import TRAIN, VAL, best_of, finish, logits, one_step, pictures, spec, train, trainer_of
from tl_core.documents.events import EpochEnded, Event, Notice
from tl_core.evaluation.calibration import calibrated_loss
from tl_core.models.build import Backbone
from tl_core.training.head.fitted import class_weights, fit_logistic
from tl_core.training.loop.regularisation import mix
from tl_core.training.loop.steps import Trainer
from tl_core.training.strategies.schedules import LOWEST, schedule

FAST: dict[str, object] = {"learning_rate": 1e-2, "stage_rate": 1e-2}
PLAIN_SGD: dict[str, object] = {"optimizer": "sgd", "momentum": 0, "weight_decay": 0, "norm_learns": False}


def _fit(
    recipe: dict[str, object],
    *,
    name: str = "lp_ft",
    epochs: int = 6,
    backbone: Backbone | None = None,
    rows: np.ndarray = TRAIN,
    taught: Callable[[np.ndarray], np.ndarray] = lambda labels: labels,
) -> tuple[EpochEnded, list[Event], Backbone]:
    """The best epoch, all events, and the network in the state of that epoch."""
    network = backbone or tower()
    labels = pictures()[1].copy()
    labels[TRAIN] = taught(labels[TRAIN])
    plan = spec(epochs=epochs, stages=1, recipe={**FAST, **recipe})
    frozen = 2 if name == "partial_fine_tuning" else 0
    events = train(network, inputs_after(network, frozen), plan, name, rows=rows, labels=labels, frozen=frozen)
    return best_of(events), events, network


def _trainer(recipe: dict[str, object]) -> tuple[Trainer, Backbone]:
    backbone = tower()
    return trainer_of(backbone, inputs_after(backbone, 0), spec(recipe={**FAST, **recipe}), "lp_ft"), backbone


def _probabilities(backbone: Backbone) -> np.ndarray:
    """Answers to the validation pictures."""
    return np.asarray(softmax(logits(backbone, pictures()[0][VAL]), axis=1))


def test_label_smoothing_makes_answers_less_certain() -> None:
    plain, _, certain = _fit({})
    smooth, _, uncertain = _fit({"label_smoothing": 0.3})
    assert plain.val_accuracy == smooth.val_accuracy == 1
    assert _probabilities(uncertain).max(axis=1).mean() < _probabilities(certain).max(axis=1).mean() - 0.05


def test_the_loss_that_is_told_is_plain_whatever_is_added_for_the_gradient() -> None:
    plain, smooth, clipped = (
        one_step(_trainer(recipe)[0]).loss for recipe in ({}, {"label_smoothing": 0.5}, {"clip": 0.1})
    )
    assert smooth == pytest.approx(plain)
    assert clipped == pytest.approx(plain)


def test_gradients_are_clipped_to_a_norm_or_not_at_all() -> None:
    lengths = {}
    for clip in (0.0, 0.01):
        trainer, backbone = _trainer({**PLAIN_SGD, "clip": clip, "learning_rate": 1.0, "stage_rate": 1.0})
        before = [parameter.detach().clone() for parameter in backbone.parameters()]
        one_step(trainer)
        changes = [now.detach() - old for now, old in zip(backbone.parameters(), before, strict=True)]
        lengths[clip] = float(torch.cat([change.flatten() for change in changes]).norm())
    assert lengths[0.01] == pytest.approx(0.01, rel=1e-3)
    assert lengths[0.0] > 0.1


def test_the_average_is_judged_and_training_goes_on_from_where_it_was() -> None:
    trainer, backbone = _trainer({"ema": 0.9})
    weight = backbone.head_parameters().__next__()
    start = weight.detach().clone()
    for number in range(10):
        one_step(trainer, number)
    now = weight.detach().clone()
    statistics = backbone.module.get_submodule("stem.1").running_mean
    followed = statistics.clone()
    with trainer.judged():
        average = weight.detach().clone()
        assert not torch.equal(statistics, followed), "a norm's statistics belong to its weights"
    assert torch.equal(weight, now)
    assert torch.equal(statistics, followed)
    assert 0 < (average - start).norm() < (now - start).norm()


def test_the_averaged_weights_are_what_the_run_keeps() -> None:
    plain, _, _ = _fit({})
    result, _, backbone = _fit({"ema": 0.95})
    assert result.val_loss != plain.val_loss
    _, labels = pictures()
    kept = calibrated_loss(np.log(_probabilities(backbone)), labels[VAL])
    assert kept == pytest.approx(result.val_loss, abs=1e-4)


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 12, 12).clone(), torch.arange(8) % 4


def test_mixup_blends_pictures_and_truths_alike() -> None:
    batch, labels = _batch()
    mixed, targets = mix(batch, torch.arange(8), classes=8, mixup=1.0, cutmix=0, generator=np.random.default_rng(0))
    assert torch.allclose(mixed[:, 0, 0, 0], targets @ torch.arange(8.0), atol=1e-5), "one share for picture and truth"
    assert torch.allclose(targets.sum(dim=1), torch.ones(8))
    assert len(set(targets.max(dim=1).values.tolist())) > 4, "every picture has a share of its own"
    flat, _ = mix(torch.rand(8, 5), labels, classes=4, mixup=0.4, cutmix=0, generator=np.random.default_rng(0))
    assert flat.shape == (8, 5)


def test_cutmix_pastes_a_box_whose_share_is_the_truth() -> None:
    batch, _ = _batch()
    mixed, targets = mix(batch, torch.arange(8), classes=8, mixup=0, cutmix=1.0, generator=np.random.default_rng(1))
    assert set(mixed.unique().tolist()) <= set(range(8)), "cut, not blended"
    for row in range(8):
        own = float((mixed[row] == row).float().mean())
        assert float(targets[row, row]) == pytest.approx(own, abs=1e-6)
    assert any(0 < float(targets[row, row]) < 1 for row in range(8))


def test_with_mixup_and_cutmix_each_batch_takes_a_random_one() -> None:
    batch, labels = _batch()
    kinds = set()
    for seed in range(8):
        mixed, _ = mix(batch, labels, classes=4, mixup=1, cutmix=1, generator=np.random.default_rng(seed))
        kinds.add(set(mixed.unique().tolist()) <= set(range(8)))
    assert kinds == {True, False}


@pytest.mark.parametrize("recipe", [{"mixup": 1.0}, {"cutmix": 1.0}])
def test_train_accuracy_is_that_on_pictures_as_they_are_where_training_mixes(recipe: dict[str, object]) -> None:
    best, _, backbone = _fit(recipe)
    pixels, labels = pictures()
    answers = logits(backbone, pixels[TRAIN]).argmax(axis=1)
    assert best.epoch > 0
    assert best.train_accuracy == pytest.approx((answers == labels[TRAIN]).mean())
    assert best.train_accuracy > 0.8


def test_cutmix_without_pixels_says_that_it_is_left_out() -> None:
    words = "CutMix needs pixels"
    cut, events, _ = _fit({"cutmix": 1.0}, name="partial_fine_tuning")
    assert any(isinstance(event, Notice) and words in event.message for event in events)
    plain, _, _ = _fit({}, name="partial_fine_tuning")
    assert cut.val_loss == plain.val_loss
    mixed, _, _ = _fit({"mixup": 0.5}, name="partial_fine_tuning")
    assert mixed.val_loss != plain.val_loss, "activations are mixed"


FEW = np.concatenate([TRAIN[TRAIN % 3 != 2], TRAIN[TRAIN % 3 == 2][:3]])
"""Training rows with three pictures of the last class."""


def test_class_weights_make_a_rare_class_count() -> None:
    _, labels = pictures()
    weights = class_weights(labels[FEW])
    assert weights[labels[FEW]].mean() == pytest.approx(1)
    assert weights[2] / weights[0] == pytest.approx(18 / 3)
    rare = []
    for wanted in (False, True):
        _, _, backbone = _fit({"class_weights": wanted, "learning_rate": 2e-2, "stage_rate": 1e-3}, rows=FEW)
        rare.append(float(_probabilities(backbone)[:, 2].mean()))
    assert rare[1] > rare[0] + 0.01


def test_the_fitted_head_can_count_classes_alike() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], [60, 6])
    features = generator.normal(0, 1, (66, 4)).astype(np.float32)
    features[:, 0] += labels
    recalls, rows = [], np.arange(len(labels))
    for balanced in (False, True):
        head, _ = finish(fit_logistic(features, labels, rows, rows, classes=2, balanced=balanced))
        recalls.append((head.logits(features).argmax(axis=1) == 1)[labels == 1].mean())
    assert recalls[1] > recalls[0]


def test_patience_ends_a_run_that_gets_no_better() -> None:
    _, _, backbone = _fit({})
    result, events, _ = _fit({"patience": 2}, epochs=20, backbone=backbone, taught=lambda labels: (labels + 1) % 3)
    epochs = [event.epoch for event in events if isinstance(event, EpochEnded)]
    assert epochs == [0, 1, 2]
    assert result.epoch == 0
    assert any(isinstance(event, Notice) and "stopped after epoch 2" in event.message for event in events)


def test_the_learning_rate_warms_up_and_falls_as_the_schedule_says() -> None:
    recipe = spec().recipe
    cosine = list(schedule(20, recipe))
    assert cosine[:2] == pytest.approx([1 / 3, 2 / 3])
    assert cosine[2] == pytest.approx(1)
    assert cosine[2:] == sorted(cosine[2:], reverse=True)
    assert cosine[-1] == pytest.approx(LOWEST)
    constant = list(schedule(20, recipe.changed({"schedule": "constant"})))
    assert constant[:2] == pytest.approx([1 / 3, 2 / 3])
    assert constant[2:] == [1] * 18
    assert list(schedule(3, recipe.changed({"schedule": "constant", "warm_up": 0}))) == [1, 1, 1]


def test_the_optimizer_that_was_chosen_is_used() -> None:
    adam, _, _ = _fit({}, epochs=1)
    sgd, _, _ = _fit({"optimizer": "sgd"}, epochs=1)
    assert adam.val_loss != sgd.val_loss


@pytest.mark.parametrize("recipe", [{}, {"optimizer": "sgd"}, {"optimizer": "sgd", "momentum": 0}])
def test_the_optimizer_has_its_state_before_the_first_gradient_and_steps_as_without(recipe: dict[str, object]) -> None:
    found = []
    for early in (True, False):
        trainer, backbone = _trainer(recipe)
        if early:
            trainer.keep()
        sizes: list[int] = []
        backbone.stages[0][1].register_forward_pre_hook(
            lambda module, given, trainer=trainer, sizes=sizes: sizes.append(
                sum(value is not None for state in trainer._optimizer.state.values() for value in state.values())
            )
        )
        for number in range(2):
            one_step(trainer, number)
        assert sizes[0] == (sizes[1] if early else 0)
        found.append(backbone.tensors())
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())
