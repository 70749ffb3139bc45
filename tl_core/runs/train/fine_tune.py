"""A run that trains stages by gradient steps: what is computed before the steps, the steps, and the states that are kept. Needs torch.

A checkpoint is written after epochs, at a bounded price, and read when the run goes on. It holds what learns and what belongs to it, not the
frozen stages; the best state is in a file of its own.
"""

import math
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from tl_core import settings
from tl_core.disk import appearing, in_words, spare, write_atomically
from tl_core.documents.arrays import ENTRY, Checkpoint
from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.documents.report import StageMoved
from tl_core.errors import (
    DiskFull,
    DocumentError,
    DownloadFailed,
    GraftError,
    ModelError,
    WeightsUnavailable,
    memory_ran_out,
)
from tl_core.models.build import Backbone, build
from tl_core.models.graphs.edit import head_of, too_large
from tl_core.models.graphs.export import exported_backbone, keep_structure
from tl_core.models.graphs.from_torch import export_backbone
from tl_core.runs.process.recorder import disk_full
from tl_core.runs.store.folders import UNUSABLE_CHECKPOINT, RunFolder, StartState
from tl_core.runs.train.find_head import Learned, fitted_head
from tl_core.runs.train.plan import Plan
from tl_core.training.device import torch_device
from tl_core.training.frozen.activations import frozen_activations
from tl_core.training.frozen.features import pretrained
from tl_core.training.loop.fit import Reached, fit, set_fitted_head
from tl_core.training.loop.inputs import Inputs
from tl_core.training.loop.stages import stage_movement, stage_pulls
from tl_core.training.loop.steps import StateMismatch
from tl_core.training.strategies.schedules import phases
from tl_core.training.strategies.strategies import learning_parameters
from tl_core.training.strategies.what_learns import first_learning, learning_stages

SHARE = 0.05
"""The largest part of the time of training that is spent on writing checkpoints, the first one apart."""
UNUSABLE: Mapping[StartState, str] = MappingProxyType(
    {
        "best": "The best state of this run cannot be used ({problem}), so it cannot be finished. Start it again.",
        "checkpoint": UNUSABLE_CHECKPOINT,
        "delivered": "What the run delivered that this one trains on cannot be used ({problem}). Open that run and train on from it again.",
    }
)
"""What is said where the file of a state is damaged, or of another network."""


def learn_stages(plan: Plan, pixels: NDArray[np.uint8], workshop: Path) -> Generator[Event, None, Learned]:
    """Train stages on `pixels` uint8 (N, S, S, 3) by gradient steps; the graph of what was learned is written to `workshop`. Raises as `train`."""
    backbone, moved = yield from train(plan, pixels)
    yield StageStarted(stage="export", title="Writing the classifier")
    graph = workshop / "backbone.onnx"
    export_backbone(backbone, plan.spec.image_size, graph)
    tensors = {name: tensor.numpy() for name, tensor in backbone.tensors().items()}
    weight, bias = head_of(plan.network, tensors)
    learning = learning_parameters(
        plan.network,
        plan.strategy,
        plan.spec.stages,
        {name: tuple(parameter.shape) for name, parameter in backbone.module.named_parameters()},
        classes=len(plan.classes),
        rank=plan.spec.recipe.lora_rank,
        learning=plan.spec.learning_stages,
    )
    return Learned(
        graph=graph,
        weight=weight,
        bias=bias,
        tensors=tensors,
        trainable=sum(math.prod(shape) for shape in learning.values()),
        total=plan.network.backbone_parameters + plan.network.head_parameters(len(plan.classes)),
        features=None,
        backbone=backbone if plan.spec.device != "cpu" else None,
        moved=moved,
    )


def train(plan: Plan, pixels: NDArray[np.uint8]) -> Generator[Event, None, tuple[Backbone, tuple[StageMoved, ...]]]:
    """Train as the plan's strategy says, from the state that the run starts from; the network, and how far its stages moved.

    The best state is loaded and not trained further. Training leaves a checkpoint after epochs.

    To finish an interrupted run the pretrained weights are not needed; without them, how far the stages moved is not known.

    Raises:
        WeightsUnavailable, DownloadFailed: the pretrained weights cannot be had.
        DeviceError: not even one image fits the device's memory.
        DiskFull: no space is left.
        ModelError: the network is too large for a bundle, gives values that are not finite, or cannot be exported.
        DocumentError: the state is damaged.
    """
    problem = too_large(plan.network)
    if problem:
        raise ModelError(problem)
    start = plan.run.starts_from
    before: dict[str, Tensor] | None = None
    try:
        backbone = yield from built(plan)
        before = {name: tensor.clone() for name, tensor in backbone.tensors(head=False).items()}
        if plan.spec.device != "cpu":
            # Where the backbone is exported, its text is kept beside the graph.
            keep_structure(backbone, plan.weights.name, plan.spec.image_size, plan.cache)
    except (WeightsUnavailable, DownloadFailed):
        if start != "best":
            raise
        # The best state is complete without them.
        backbone = _random(plan)
    if start == "best":
        _load(plan, backbone, start)
        yield Notice(message="Finishing with the best state that training reached before it was stopped.")
    else:
        if plan.spec.continues:
            # Also below a checkpoint, which holds only what learns.
            _load(plan, backbone, "delivered")
        yield from _take_steps(plan, backbone, pixels, start)
    learned = learning_stages(backbone, plan.strategy, plan.spec)
    return backbone, stage_movement(before, backbone, learned) if before else ()


def _load(plan: Plan, backbone: Backbone, state: StartState) -> None:
    """Give `backbone` the whole network of a state. Raises DocumentError where it cannot be used."""
    # A bundle is written by NumPy, which gives a single number the shape (1,).
    single = {name for name, tensor in backbone.tensors().items() if tensor.dim() == 0}
    saved = saved_tensors(plan.run, state)
    try:
        backbone.load_tensors({name: tensor.squeeze() if name in single else tensor for name, tensor in saved.items()})
    except ValueError as error:
        raise DocumentError(UNUSABLE[state].format(problem=error)) from error


def built(plan: Plan) -> Generator[Event, None, Backbone]:
    """The network with a new head, before training. Raises WeightsUnavailable, DownloadFailed."""
    if not plan.strategy.pretrained:
        return _random(plan)
    return (yield from pretrained(plan.network, plan.weights.name, classes=len(plan.classes), seed=plan.spec.seed))


def _random(plan: Plan) -> Backbone:
    return build(plan.network, weights=None, classes=len(plan.classes), seed=plan.spec.seed, like=plan.weights.name)


def prepared(plan: Plan, backbone: Backbone, pixels: NDArray[np.uint8]) -> Generator[Event, None, tuple[int, Inputs]]:
    """How many stages are frozen when training starts, and their output; `backbone` gets the head with which it starts."""
    strategy, stages = plan.strategy, len(backbone.stages)
    if strategy.thaws:
        features = yield from _start_from_fitted(plan, backbone, pixels)
        return stages, Inputs.of_activations(features, device=torch_device(plan.spec.device))
    if strategy.learns == "one" and plan.spec.learning_stages is None:
        yield from _start_from_fitted(plan, backbone, pixels)
        yield from _find_stage(plan, backbone, pixels)
        frozen = first_learning(backbone, strategy, plan.spec)
        return frozen, (yield from _inputs(plan, backbone, pixels, frozen))
    # Before the fitted head, because this pass also gives the features for it where they are not in the cache yet.
    frozen = first_learning(backbone, strategy, plan.spec)
    inputs = yield from _inputs(plan, backbone, pixels, frozen)
    if strategy.head_start == "fitted":
        yield from _start_from_fitted(plan, backbone, pixels)
    return frozen, inputs


def _prepared_again(
    plan: Plan, backbone: Backbone, pixels: NDArray[np.uint8], epoch: int
) -> Generator[Event, None, tuple[int, Inputs]]:
    """How many stages are frozen in `epoch`, and their output; the head that training started from is not looked for again."""
    strategy, stages = plan.strategy, len(backbone.stages)
    if not strategy.thaws:
        frozen = first_learning(backbone, strategy, plan.spec)
        return frozen, (yield from _inputs(plan, backbone, pixels, frozen))
    begun = [phase.frozen for phase in phases(strategy, stages, plan.spec.epochs) if phase.first <= epoch]
    frozen = stages if begun[-1] is None else begun[-1]
    if frozen < stages:
        return frozen, (yield from _inputs(plan, backbone, pixels, frozen))
    yield from _exported(plan)
    yield StageStarted(stage="features", title="Looking at every picture once")
    features = yield from plan.features(pixels)
    return frozen, Inputs.of_activations(features, device=torch_device(plan.spec.device))


def _take_steps(
    plan: Plan, backbone: Backbone, pixels: NDArray[np.uint8], start: StartState
) -> Generator[Event, None, None]:
    """Train, from the checkpoint on where the run starts from that."""
    strategy = plan.strategy
    reached = None
    if start == "checkpoint":
        checkpoint = plan.run.checkpoint()
        reached = Reached(checkpoint, saved_tensors(plan.run, start), saved_tensors(plan.run, "best"))
        changed = differences(checkpoint, plan.spec.device)
        message = f"Training goes on after epoch {checkpoint.epoch} of {checkpoint.epochs}. {changed or ''}"
        yield Notice(message=message.rstrip())
        frozen, inputs = yield from _prepared_again(plan, backbone, pixels, checkpoint.epoch)
    else:
        frozen, inputs = yield from prepared(plan, backbone, pixels)

    def thaw(first: int) -> Generator[Event, None, Inputs]:
        # Embeddings that are kept on the way are for other runs, too. Where torch computes them and not the exported graph,
        # it needs a network that was not trained.
        fresh = (yield from built(plan)) if first and plan.spec.device != "cpu" else backbone
        inputs_now = yield from _inputs(plan, backbone, pixels, first, fresh=fresh)
        yield StageStarted(stage="training", title=f"Training: {strategy.title.lower()}")
        return inputs_now

    yield StageStarted(stage="training", title=f"Training: {strategy.title.lower()}")
    try:
        yield from fit(
            backbone,
            inputs,
            plan.labels,
            plan.rows("train"),
            plan.rows("val"),
            spec=plan.spec,
            strategy=strategy,
            frozen=frozen,
            save_best=lambda tensors: write_atomically(plan.run.best, save(tensors)),
            thaw=thaw,
            # With what training goes on stands in the spec.
            adapted=lambda micro_batch, precision: plan.note(micro_batch=micro_batch, precision=precision),
            keep=Checkpoints(plan.run).keep,
            reached=reached,
        )
    except StateMismatch as error:
        raise DocumentError(UNUSABLE["checkpoint"].format(problem=error)) from error


def _start_from_fitted(
    plan: Plan, backbone: Backbone, pixels: NDArray[np.uint8]
) -> Generator[Event, None, NDArray[np.float32]]:
    """Give `backbone` the fitted head; the features that it was fitted on."""
    yield from _exported(plan)
    fitted = yield from fitted_head(plan, pixels)
    set_fitted_head(backbone, fitted.head)
    return fitted.features


def _find_stage(plan: Plan, backbone: Backbone, pixels: NDArray[np.uint8]) -> Generator[Event, None, None]:
    """Find the stage with the largest gradient relative to its weights, and write it into the spec."""
    yield StageStarted(stage="training", title="Looking which stage the pictures pull at hardest")
    inputs = Inputs.of_pixels(backbone, pixels, frozen=0, device=torch_device(plan.spec.device), level="none")
    pulls = yield from stage_pulls(
        backbone, inputs, plan.labels, plan.rows("train"), spec=plan.spec, strategy=plan.strategy
    )
    backbone.to("cpu")
    hardest = int(np.argmax(pulls))
    plan.note(learning_stages=(hardest,))
    ratios = ", ".join(f"{name} {pull:.2g}" for (name, _), pull in zip(backbone.stages, pulls, strict=True))
    yield Notice(
        message=(
            f"The pictures pull hardest at {backbone.stages[hardest][0]}, so that stage learns. Gradient for weights, from "
            f"stem to head: {ratios}."
        )
    )


def _inputs(
    plan: Plan, backbone: Backbone, pixels: NDArray[np.uint8], frozen: int, *, fresh: Backbone | None = None
) -> Generator[Event, None, Inputs]:
    """The inputs of the stages after the first `frozen`: the kept output of those, or pixels.

    `fresh`: the network before any training, where `backbone` has learned already.
    """
    spec, device = plan.spec, torch_device(plan.spec.device)
    if frozen:
        exported = yield from _exported(plan)
        yield StageStarted(stage="features", title="Running the frozen stages once")
        activations = yield from frozen_activations(
            fresh or backbone,
            exported,
            pixels,
            frozen=frozen,
            spec=spec,
            train_rows=plan.rows("train"),
            passes=_passes(plan, backbone, frozen),
            cache=plan.cache,
            key=plan.key(),
        )
        views = activations.views if activations else 0
        if spec.views_kept.get(frozen) != views:
            plan.note(views_kept={**spec.views_kept, frozen: views})
        if activations is not None:
            return Inputs.of_activations(activations.plain, device=device, copies=activations.copies)
    return Inputs.of_pixels(
        backbone, pixels, frozen=frozen, device=device, level=spec.recipe.augmentation, precision=spec.precision
    )


def _exported(plan: Plan) -> Generator[Event, None, Path | None]:
    """The exported backbone, whose graph computes what is frozen on a CPU; None on other devices, where torch does."""
    if plan.spec.device != "cpu":
        return None
    return (yield from exported_backbone(plan.network, plan.weights.name, plan.spec.image_size, plan.cache))


def _passes(plan: Plan, backbone: Backbone, frozen: int) -> int:
    """In how many epochs exactly the first `frozen` stages are frozen."""
    strategy, epochs = plan.strategy, plan.spec.epochs
    if not strategy.thaws:
        return epochs
    return sum(phase.epochs for phase in phases(strategy, len(backbone.stages), epochs) if phase.frozen == frozen)


class Checkpoints:
    """Writes the checkpoint of one run, each in place of the one before."""

    def __init__(self, run: RunFolder, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._clock = run, clock
        self._due = float("-inf")
        self._failed = False

    def keep(self, state: Callable[[], Reached]) -> Iterator[Event]:
        """Write the state, unless that was done so recently that it would take more than `SHARE` of the time.

        Where it cannot be written, a notice says so once and training goes on.
        """
        begun = self._clock()
        if begun < self._due:
            return
        try:
            self._write(state())
        except Exception as error:
            if not isinstance(error, (GraftError, OSError, SafetensorError)) and not memory_ran_out(error):
                raise
            if not self._failed:
                self._failed = True
                yield Notice(level="warning", message=self._cannot(error))
        ended = self._clock()
        self._due = ended + (ended - begun) * (1 / SHARE - 1)

    def _write(self, reached: Reached) -> None:
        # PyTorch lays arrays of some networks out in another order.
        tensors = {name: tensor.contiguous() for name, tensor in reached.tensors.items()}
        size, path = sum(tensor.nbytes for tensor in tensors.values()), self._run.checkpoint_file
        if spare(path.parent, settings.current().free_bytes) < size:
            raise DiskFull(f"The disk has no room for the {in_words(size)} of a checkpoint")
        with appearing(path, path.name) as temporary:
            save_file(tensors, temporary, metadata={ENTRY: reached.checkpoint.model_dump_json()})
            # The rename must not reach the disk before the content, or a power cut would leave an empty file.
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _cannot(self, error: Exception) -> str:
        why = "the disk is full" if disk_full(error) else " ".join(str(error).split())
        after = "it can only be started again"
        with suppress(GraftError):
            after = f"it can only go on from epoch {self._run.checkpoint().epoch}"
        return f"No checkpoint can be written ({why}). Training goes on; if it is interrupted now, {after}."


def saved_tensors(run: RunFolder, state: StartState) -> dict[str, Tensor]:
    """The tensors of a state that `run` may start from. Raises DocumentError where its file cannot be read, for example after a power cut."""
    file = {"best": run.best, "checkpoint": run.checkpoint_file, "delivered": run.start_file}[state]
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise DocumentError(UNUSABLE[state].format(problem=f"{error}.")) from error


def differences(before: Checkpoint, device: str) -> str | None:
    """What is not as it was when the checkpoint was written, a sentence for the user; None where all is."""
    changed = []
    if before.device != device:
        changed.append(f"on {device!r} (before: {before.device!r})")
    if before.torch != torch.__version__:
        changed.append(f"with PyTorch {torch.__version__} (before: {before.torch})")
    if not changed:
        return None
    return f"It goes on {' and '.join(changed)}, so its figures may differ a little from those of a run without the interruption."
