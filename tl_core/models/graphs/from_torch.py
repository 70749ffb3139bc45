"""What is written of a backbone: an ONNX graph in one file, compared with torch, and the network as text. Needs torch.

Batch norms are folded into the convolutions before them. The text is what `print(model)` shows, with the output shape of each module;
it is kept beside the exported backbone, so that a page can show it without torch.
"""

import copy
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode

from tl_core.errors import BundleError, ModelError
from tl_core.models.build import Backbone
from tl_core.models.graphs import rules
from tl_core.models.graphs.edit import stage_name, too_large

OPSET = 20
TOLERANCE = 1e-3
"""Largest difference from torch's output, as a fraction of the largest value."""

LONGEST = 2_000
"""Largest number of lines; in a longer text, equal blocks that follow each other are written once."""


class _Features(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.backbone.normalise(images)
        outputs = []
        for _, stage in self.backbone.stages:
            x = stage(x)
            outputs.append(x)
        return self.backbone.pool(x), self.backbone.map(x), *outputs


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
    visible = [output for output in graph.output if output.name not in inner]
    read = {name for node in graph.node for name in node.input} | {output.name for output in visible}
    copies = {
        node.output[0]: node
        for node in graph.node
        if node.op_type == "Identity" and node.output[0] in inner and node.output[0] not in read
    }
    for name, node in copies.items():
        model.metadata_props.add(key=name, value=node.input[0])
        graph.node.remove(node)
    del graph.output[:]
    graph.output.extend(visible)
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
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check(path: Path, pictures: NDArray[np.uint8], wanted: list[Tensor]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for name, answer, expected in zip(
        [output.name for output in session.get_outputs()], session.run(None, {"images": pictures}), wanted, strict=True
    ):
        reference = expected.numpy()
        difference = float(np.abs(answer - reference).max() / max(float(np.abs(reference).max()), 1e-12))
        if answer.shape != reference.shape or not difference <= TOLERANCE:
            raise ModelError(
                f"The exported graph answers differently from the network ({name}: {difference:.1e} of the largest "
                f"value, {TOLERANCE:.0e} is allowed). Please report this, with the backbone's name."
            )


def fold_batch_norms(module: nn.Module, images: Tensor) -> None:
    """Fold each batch norm of `module`, in eval mode, into the convolution whose output only it reads.

    The convolution gets the weights W * g / s and the bias (b - m) * g / s + t, for the norm's scale g, shift t, mean m and standard
    deviation s = sqrt(var + eps); the norm then hands its input on. The exporter folds with the same formula, but only
    after it traced each norm twice, which takes it longer than all convolutions.

    Which norm follows which convolution is read from one pass over `images`, the module's input, without gradients.
    """
    reads = _Reads()
    with torch.no_grad(), reads:
        reads.note(module(images))
    norms = {id(norm.running_mean): norm for norm in module.modules() if isinstance(norm, nn.BatchNorm2d)}
    for convolution in [part for part in module.modules() if isinstance(part, nn.Conv2d)]:
        norm = norms.get(reads.only_norm(convolution.weight))
        if norm is not None and (rest := _rest(norm)) is not None:
            convolution.weight, convolution.bias = fuse_conv_bn_weights(
                convolution.weight,
                convolution.bias,
                cast(Tensor, norm.running_mean),
                cast(Tensor, norm.running_var),
                norm.eps,
                norm.weight,
                norm.bias,
            )
            norm.forward = rest.forward  # type: ignore[method-assign]


class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes which operations read the output of each convolution."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._outputs: dict[int, list[Tensor]] = {}
        """Of the convolutions with this weight (its id). They are kept, so that no later tensor gets the same id."""
        self._readers: dict[int, list[int]] = {}
        """Of the output with this id: a batch norm by its running mean (the id), any other reader by 0."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        self.note(args, reader=id(args[3]) if "batch_norm" in name else 0)
        if name == "convolution":
            self._outputs.setdefault(id(args[1]), []).append(result)
            self._readers[id(result)] = []
        return result

    def note(self, read: tuple[Any, ...], reader: int = 0) -> None:
        for item in read:
            for tensor in item if isinstance(item, tuple | list) else (item,):
                if id(tensor) in self._readers:
                    self._readers[id(tensor)].append(reader)

    def only_norm(self, weight: Tensor) -> int:
        """The running mean (its id) of the batch norm that alone reads what the one convolution with `weight` gives; else 0."""
        outputs = self._outputs.get(id(weight), [])
        readers = self._readers[id(outputs[0])] if len(outputs) == 1 else []
        return readers[0] if len(readers) == 1 else 0


def _rest(norm: nn.BatchNorm2d) -> nn.Module | None:
    """What `norm` does beside the normalisation; None where that is not known, or it has no scale or statistics of its own."""
    if norm.weight is None or norm.running_mean is None:
        return None
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    if type(norm).__module__.startswith("timm."):
        from timm.layers import BatchNormAct2d

        if type(norm) is BatchNormAct2d:
            return nn.Sequential(norm.get_submodule("drop"), norm.get_submodule("act"))
    return None


def structure(backbone: Backbone, image_size: int) -> str:
    """The modules of `backbone` as a tree with the output shape of each, for one square picture of `image_size` pixels.

    Runs the network once on its own device, which may be the meta device, without gradients. The network is not changed.
    """
    shapes = _shapes(backbone, image_size)
    head = f"Linear(in_features={backbone.network.embedding_size}, out_features=number of classes), the new head"
    lines = list(_tree("", backbone.module, "", shapes, {backbone.network.head: head}, fold=False))
    if len(lines) > LONGEST:
        lines = list(_tree("", backbone.module, "", shapes, {backbone.network.head: head}, fold=True))
    lines[0] = f"{lines[0]}  # images (3, {image_size}, {image_size})"
    return "\n".join(lines) + "\n"


def _shapes(backbone: Backbone, image_size: int) -> dict[str, tuple[int, ...]]:
    """The shape of each module's last output, without the batch, by the module's path."""
    shapes: dict[str, tuple[int, ...]] = {}

    def remember(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, result: Any) -> None:
            first = result[0] if isinstance(result, tuple | list) and result else result
            if isinstance(first, Tensor):
                shapes[path] = tuple(first.shape[1:])

        return hook

    training = backbone.training
    hooks = [module.register_forward_hook(remember(path)) for path, module in backbone.module.named_modules()]
    try:
        backbone.eval()
        with torch.no_grad():
            backbone.embed(torch.zeros(1, 3, image_size, image_size, device=backbone.mean.device))
    finally:
        for handle in hooks:
            handle.remove()
        backbone.train(training)
    return shapes


def _tree(
    path: str, module: nn.Module, name: str, shapes: dict[str, tuple[int, ...]], labels: dict[str, str], *, fold: bool
) -> Iterator[str]:
    """The lines of `module` with its children indented; `said` gives other texts for the modules at its paths."""
    label = f"({name}): " if name else ""
    shape = f" -> {shapes[path]}" if path in shapes else ""
    children = list(module.named_children())
    if path in labels:
        yield f"{label}{labels[path]}"
        return
    if not children:
        yield f"{label}{module!r}".replace("\n", " ") + shape
        return
    options = module.extra_repr()
    yield f"{label}{type(module).__name__}{f'({options})' if options else ''}{shape}"
    blocks = []
    for child_name, child in children:
        below = f"{path}.{child_name}" if path else child_name
        first, *rest = _tree(below, child, child_name, shapes, labels, fold=fold)
        blocks.append((child_name, first.partition("): ")[2], rest))
    # Equal blocks differ in their names only.
    for _, same in groupby(blocks, key=(lambda block: (block[1], block[2])) if fold else (lambda block: block[0])):
        group = list(same)
        names = group[0][0] if len(group) == 1 else f"{group[0][0]} to {group[-1][0]}"
        times = "" if len(group) == 1 else f"{len(group)} x "
        yield f"  ({names}): {times}{group[0][1]}"
        yield from (f"  {line}" for line in group[0][2])
