"""What learns under each strategy: those parameters move, and nothing else."""

import re

import numpy as np
import pytest
import timm
import torch
from torch import nn

from tests.training.tower import frozen_at_first, inputs_after, tower
from tests.training.twin import finish, one_step, pictures, spec, trainer_of
from tl_core.documents.spec import TrainSpec
from tl_core.training.loop.steps import Running
from tl_core.training.strategies.strategies import BIASES_AND_NORMS as BIASES_AND_NORMS_OF
from tl_core.training.strategies.strategies import strategies, strategy
from tl_core.training.strategies.what_learns import (
    Update,
    first_learning,
    fold_updates,
    folded_tensors,
    head_groups,
    insert_updates,
    learning_stages,
    stage_groups,
)

WHOLE = r".*(?<!running_mean)(?<!running_var)(?<!num_batches_tracked)"
ATTENTION = r"(attention|norm|head)\..*"
LINEAR = r"attention\.(mix\.in_proj_weight|mix\.out_proj\.weight|mlp\.weight)|head\..*"
BIASES_AND_NORMS = r".*bias|(stem|conv)\.1\.weight|attention\.norm\.weight|norm\.weight|head\.weight"
MOVES = {
    "feature_extraction": r"head\..*",
    "partial_fine_tuning": ATTENTION,
    "full_fine_tuning": WHOLE,
    "lp_ft": WHOLE,
    "discriminative_lr": WHOLE,
    "gradual_unfreezing": r"head\..*",
    "surgical": r"(conv|head)\..*(?<!running_mean)(?<!running_var)(?<!num_batches_tracked)",
    "bias_and_norm": BIASES_AND_NORMS,
    "lora": LINEAR,
    "from_scratch": WHOLE,
}


def _spec(name: str, **recipe: object) -> TrainSpec:
    learning = (1,) if name == "surgical" else None
    row = strategy(name).recipe.changed({"norm_learns": False, "learning_rate": 1e-2, "stage_rate": 1e-2, **recipe})
    return spec(stages=1, learning_stages=learning).model_copy(update={"recipe": row})


def _moved(name: str, plan: TrainSpec, steps: int = 3) -> tuple[set[str], set[str]]:
    """Names of the tensors that some steps changed, and of all."""
    backbone = tower()
    before = {key: tensor.clone() for key, tensor in backbone.tensors().items()}
    frozen = frozen_at_first(backbone, name, plan)
    trainer = trainer_of(backbone, inputs_after(backbone, frozen), plan, name, frozen=frozen)
    for number in range(steps):
        one_step(trainer, number)
    after = trainer.tensors()
    assert after.keys() == before.keys()
    return {key for key in before if not torch.equal(before[key], after[key])}, set(before)


@pytest.mark.parametrize("name", list(strategies()))
def test_exactly_what_learns_moves(name: str) -> None:
    moved, every = _moved(name, _spec(name))
    assert moved == {key for key in every if re.fullmatch(MOVES[name], key)}


@pytest.mark.parametrize(
    ("name", "statistics"),
    [("lp_ft", {"stem", "conv"}), ("surgical", {"conv"}), ("bias_and_norm", {"stem", "conv"}), ("lora", set())],
)
def test_statistics_follow_the_batch_only_where_norms_learn(name: str, statistics: set[str]) -> None:
    moved, _ = _moved(name, _spec(name, norm_learns=True), steps=1)
    assert {key.split(".")[0] for key in moved if "running" in key} == statistics


def test_no_batch_norm_learns_from_one_picture_alone() -> None:
    backbone = tower()
    seen: set[int] = set()
    for norm in (module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.register_forward_pre_hook(lambda module, inputs: seen.add(len(inputs[0])) if module.training else None)
    plan = _spec("lp_ft", norm_learns=True).model_copy(update={"micro_batch": 2})
    trainer = trainer_of(backbone, inputs_after(backbone, 0), plan, "lp_ft")
    for images in (4, 3):
        finish(trainer.step(np.arange(images), 1.0, draw=[0, 0], running=Running()))
    assert seen == {2}


@pytest.mark.parametrize(
    ("name", "frozen"), [("partial_fine_tuning", 2), ("surgical", 1), ("lora", 2), ("bias_and_norm", 0), ("lp_ft", 0)]
)
def test_the_frozen_prefix_ends_at_the_first_stage_that_learns(name: str, frozen: int) -> None:
    backbone = tower()
    assert first_learning(backbone, strategy(name), _spec(name)) == frozen
    if name == "lora":
        assert learning_stages(backbone, strategy(name), _spec(name)) == (2,), "no other has linear layers"


def test_rates_fall_towards_the_stem_and_biases_do_not_decay() -> None:
    backbone = tower()
    plan = _spec("discriminative_lr", learning_rate=0.5, stage_rate=0.1, rate_decay=0.5)
    groups = stage_groups(backbone, strategy("discriminative_lr"), plan)
    assert [group["peak"] for group in groups] == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    assert {group["peak"] for group in head_groups(backbone, plan)} == {0.5}
    names = {id(parameter): name for name, parameter in backbone.module.named_parameters()}
    decaying, steady = (
        {names[id(one)] for group in groups if (group["weight_decay"] > 0) is decays for one in group["params"]}
        for decays in (True, False)
    )
    linear = {"attention.mix.in_proj_weight", "attention.mix.out_proj.weight", "attention.mlp.weight"}
    assert decaying == {"stem.0.weight", "conv.0.weight"} | linear
    assert {"attention.position", "norm.weight", "stem.1.weight", "stem.0.bias"} <= steady


def test_each_group_steps_at_its_own_rate() -> None:
    """With plain SGD the length of one step is rate times gradient."""
    steps = {}
    for decay in (1.0, 0.5):
        backbone = tower()
        weight = backbone.stages[1][1][0][0].weight
        before = weight.detach().clone()
        plan = _spec("discriminative_lr", optimizer="sgd", momentum=0, weight_decay=0, clip=0, rate_decay=decay)
        one_step(trainer_of(backbone, inputs_after(backbone, 0), plan, "discriminative_lr"))
        steps[decay] = (weight.detach() - before).clone()
    assert torch.allclose(steps[1.0] / 2, steps[0.5], rtol=1e-3, atol=1e-8)


def test_biases_and_norms_of_the_libraries_learn_and_no_other_weights() -> None:
    learns = BIASES_AND_NORMS_OF.learns
    norms = (nn.BatchNorm2d, nn.LayerNorm, nn.RMSNorm, timm.layers.BatchNormAct2d, timm.layers.RmsNorm)
    for module in (*(kind(4) for kind in norms), nn.GroupNorm(2, 4), timm.layers.GroupNorm1(4)):
        assert all(learns(name, parameter.shape) for name, parameter in module.named_parameters()), module
    for module in (nn.Linear(4, 4), nn.Conv2d(4, 4, 1), nn.MultiheadAttention(4, 1)):
        learning = {name for name, parameter in module.named_parameters() if learns(name, parameter.shape)}
        assert all(name.endswith("bias") for name in learning), module


def test_low_rank_updates_start_as_nothing_and_fold_into_the_weights() -> None:
    backbone = tower()
    images = backbone.normalise(torch.from_numpy(pictures()[0][:4]))
    names = set(backbone.tensors())
    with torch.no_grad():
        plain = backbone(images)
        insert_updates(backbone, 4, seed=0)
        assert torch.allclose(backbone(images), plain, atol=1e-6)
        for module in backbone.modules():
            if isinstance(module, Update):
                nn.init.normal_(module.up, std=0.2)
        updated = backbone(images)
        assert (updated - plain).abs().max() > 0.01
        tensors = folded_tensors(backbone)
        assert torch.equal(backbone(images), updated), "looking at the folded tensors changes nothing"
        fold_updates(backbone)
        assert torch.allclose(backbone(images), updated, atol=1e-5)
    assert set(backbone.tensors()) == names == tensors.keys()
    other = tower(seed=1)
    other.load_tensors(tensors)
    with torch.no_grad():
        assert torch.allclose(other(images), updated, atol=1e-5)


def test_one_rate_suits_every_rank() -> None:
    lengths = []
    for rank in (1, 4, 16):
        backbone = tower()
        before = backbone.module.get_submodule("attention.mlp").weight.detach().clone()
        trainer = trainer_of(backbone, inputs_after(backbone, 2), _spec("lora", lora_rank=rank), "lora", frozen=2)
        for number in range(3):
            one_step(trainer, number)
        lengths.append(float((trainer.tensors()["attention.mlp.weight"] - before).norm()))
    assert max(lengths) < 2.5 * min(lengths), lengths


def test_a_rank_above_the_layers_own_is_cut_to_it() -> None:
    backbone = tower()
    insert_updates(backbone, 64, seed=0)
    ranks = {module.down.shape[0] for module in backbone.modules() if isinstance(module, Update)}
    assert ranks == {16}
