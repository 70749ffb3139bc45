"""A backbone written as an ONNX graph in one file, and compared with torch. Needs torch."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tl_core.errors import BundleError, ModelError
from tl_core.models.build import Backbone
from tl_core.models.graphs import rules
from tl_core.models.graphs.edit import stage_name, too_large
from tl_core.models.graphs.fold import fold_batch_norms

OPSET = 20
TOLERANCE = 1e-3
"""Largest difference from torch's output, as a fraction of the largest value."""


class _Features(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.backbone.normalise(images)
        given = []
        for _, stage in self.backbone.stages:
            x = stage(x)
            given.append(x)
        return self.backbone.pool(x), self.backbone.map(x), *given


def export_backbone(backbone: Backbone, image_size: int, path: Path) -> None:
    """Write `backbone` without its head to the file `path`, and compare it with torch on random images.

    Input `images` uint8 (N, S, S, 3) RGB with any N; outputs `embedding` float32 (N, D) and `map` float32 (N, K, h, w).
    The output of each stage has a name inside the graph (`stage_name`), where `edit.cut` finds it.

    Raises:
        ModelError: ONNX Runtime answers differently from torch, the network is too large for one file, or its graph is one
            that no bundle may hold (`rules`).
    """
    problem = too_large(backbone.network)
    if problem:
        raise ModelError(problem)
    outputs = ["embedding", "map"]
    stages = [stage_name(number) for number in range(len(backbone.stages))]
    module = _Features(_plain(backbone)).eval()
    pictures = np.random.default_rng(0).integers(0, 256, (3, image_size, image_size, 3), dtype=np.uint8)
    with torch.no_grad():
        wanted = module(torch.from_numpy(pictures))[: len(outputs)]
    fold_batch_norms(module, torch.from_numpy(pictures[:1]))
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            module,
            (torch.from_numpy(pictures[:2]),),
            input_names=["images"],
            output_names=[*outputs, *stages],
            dynamic_shapes={"images": {0: torch.export.Dim("N", min=1)}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise ModelError("PyTorch gave no ONNX graph.")
    path.parent.mkdir(parents=True, exist_ok=True)
    model = _hide(_anonymous(program.model_proto), stages)
    onnx.save(model, path)
    try:
        rules.check(model, path.name, path.stat().st_size)
    except BundleError as error:
        raise ModelError(
            f"{backbone.network.name} cannot be used for pictures of {image_size} pixels, because a bundle with its graph "
            f"would be refused: {error.message} Choose a smaller image size, or another backbone."
        ) from error
    _check(path, pictures, list(wanted))


def _plain(backbone: Backbone) -> Backbone:
    """A float32 copy on the CPU in eval mode and the default memory layout, so that the graph does not depend on the training."""
    plain = copy.deepcopy(backbone).cpu().float().requires_grad_(False)
    for module in plain.modules():
        # Gradients and in-place operations make the exporter take twice as long.
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    return plain.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload,no-any-return]


def _hide(model: onnx.ModelProto, inner: Sequence[str]) -> onnx.ModelProto:
    """Remove `inner` from the graph's outputs; the tensors keep their names.

    The exporter copies a tensor that is returned twice. The copy is removed, since ONNX Runtime would compute it for nothing, and
    the model's properties say which tensor has that name, too.
    """
    graph = model.graph
    hidden = [output for output in graph.output if output.name in inner]
    kept = [output for output in graph.output if output.name not in inner]
    read = {name for node in graph.node for name in node.input} | {output.name for output in kept}
    copies = {
        node.output[0]: node
        for node in graph.node
        if node.op_type == "Identity" and node.output[0] in inner and node.output[0] not in read
    }
    for name, node in copies.items():
        model.metadata_props.add(key=name, value=node.input[0])
        graph.node.remove(node)
    del graph.output[:]
    graph.output.extend(kept)
    graph.value_info.extend(output for output in hidden if output.name not in copies)
    made = {name for node in graph.node for name in node.output} | copies.keys()
    if not made.issuperset(inner):
        raise ModelError(f"The exported graph lost the stages {', '.join(sorted(set(inner) - made))}.")
    return model


def _anonymous(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without the exporter's notes, which contain source lines and folders of this machine."""
    holders = [model, model.graph, *model.functions, *model.graph.node, *model.graph.value_info]
    for function in model.functions:
        holders.extend(function.node)
    holders += [*model.graph.input, *model.graph.output, *model.graph.initializer]
    for holder in holders:
        del holder.metadata_props[:]
        holder.doc_string = ""
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporter's warnings about its own internals, about which a user can do nothing."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check(path: Path, pictures: NDArray[np.uint8], wanted: list[Tensor]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for name, given, expected in zip(
        [output.name for output in session.get_outputs()], session.run(None, {"images": pictures}), wanted, strict=True
    ):
        reference = expected.numpy()
        difference = float(np.abs(given - reference).max() / max(float(np.abs(reference).max()), 1e-12))
        if given.shape != reference.shape or not difference <= TOLERANCE:
            raise ModelError(
                f"The exported graph answers differently from the network ({name}: {difference:.1e} of the largest "
                f"value, {TOLERANCE:.0e} is allowed). Please report this, with the backbone's name."
            )
