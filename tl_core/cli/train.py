"""`train`: the main job, and what is said at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tl_core import api
from tl_core.cli import options, show
from tl_core.serving.bundle_files import FOLDER


def train(
    data: options.Data,
    *,
    backbone: options.Backbone = "efficientnet_lite0",
    weights: options.Weights = None,
    strategy: options.Strategy = None,
    stages: options.Stages = None,
    epochs: options.Epochs = None,
    image_size: options.ImageSize = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    classes: options.Classes = "first",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The run folder; it must be empty or not there yet.")
    ] = None,
    workspace: options.Workspace = None,
    json: options.Json = False,
    solver: options.Solver = "logistic",
    batch_size: options.BatchSize = 32,
    optimizer: options.Optimizer = None,
    learning_rate: options.LearningRate = None,
    stage_rate: options.StageRate = None,
    rate_decay: options.RateDecay = None,
    momentum: options.Momentum = None,
    weight_decay: options.WeightDecay = None,
    schedule: options.Schedule = None,
    warm_up: options.WarmUp = None,
    label_smoothing: options.LabelSmoothing = None,
    mixup: options.Mixup = None,
    cutmix: options.Cutmix = None,
    ema: options.Ema = None,
    patience: options.Patience = None,
    clip: options.Clip = None,
    class_weights: options.ClassWeights = None,
    augmentation: options.Augmentation = None,
    views: options.Views = None,
    norm_learns: options.NormLearns = None,
    lora_rank: options.LoraRank = None,
) -> None:
    """Train a classifier on DATA, measure it on pictures it has not seen, and write its bundle."""
    recipe = {
        "optimizer": optimizer,
        "head_rate": learning_rate,
        "stage_rate": stage_rate,
        "rate_decay": rate_decay,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "schedule": schedule,
        "warm_up": warm_up,
        "label_smoothing": label_smoothing,
        "mixup": mixup,
        "cutmix": cutmix,
        "ema": ema,
        "patience": patience,
        "clip": clip,
        "class_weights": class_weights,
        "augmentation": augmentation,
        "views": views,
        "norm_learns": norm_learns,
        "lora_rank": lora_rank,
    }
    with show.Bars() as bars:
        result = api.train(
            data,
            backbone=backbone,
            weights=weights,
            strategy=strategy,
            solver=solver,
            stages=stages,
            epochs=epochs,
            image_size=image_size,
            seed=seed,
            device=device,
            batch_size=batch_size,
            recipe=recipe,
            classes=classes,
            out=out,
            workspace=workspace,
            on_event=bars,
        )
    if json:
        show.as_json(result)
        return
    tell(result)
    tell_strategy(result)


def tell_strategy(result: dict[str, Any]) -> None:
    """Why this strategy was taken, where the user did not choose it, and how long a longer one would take."""
    from tl_core.runs.store.folders import RunFolder
    from tl_core.runs.store.store import Store
    from tl_core.runs.train.estimating import estimated_with
    from tl_core.training.strategies.strategies import default_strategy

    if result["chosen_by"] == "user":
        return
    show.line(f"Strategy: {result['strategy']}. {result['reason'] or ''}".rstrip())
    choice = default_strategy(result["device"], result["train_images"])
    if result["chosen_by"] == "default" and choice.longer and result["strategy"] == choice.name:
        store, spec = Store.default(), RunFolder(Path(result["run_dir"])).spec()
        manifest = store.workspace(spec.workspace).dataset(spec.dataset).manifest()
        time = estimated_with(spec, choice.longer, manifest, store.cache)
        show.line(f"{choice.longer_reason} --strategy {choice.longer} would take {time}.")


def tell(result: dict[str, Any]) -> None:
    """The result of a run in words."""
    said = show.accuracy(result["test_accuracy"], result["test_interval"], result["test_images"])
    show.line(f"{said} that it had never seen.")
    if result["refused_files"]:
        show.line(f"Files that were refused: {result['refused_files']:,}; `check` names them.")
    show.line(f"Time: {result['seconds']['total']:.1f} s on {result['device']}, {result['peak_memory_mb']:,.0f} MB.")
    show.line(f"Run: {result['run_dir']}")
    show.line(f"Bundle: {Path(result['run_dir']) / FOLDER}")
