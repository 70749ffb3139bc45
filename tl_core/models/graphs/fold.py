"""Batch norms folded into the convolutions before them, for inference. Needs torch."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode


def fold_batch_norms(module: nn.Module, images: Tensor) -> None:
    """Fold each batch norm of `module`, in eval mode, into the convolution whose output only it reads.

    The convolution gets the weights W * g / s and the bias (b - m) * g / s + t, for the norm's scale g, shift t, mean m and standard
    deviation s = sqrt(var + eps); the norm then hands its input on. The exporter folds with the same formula and the same rounding, but only
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
            _fold(convolution, norm)
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


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """As NumPy computes it, whose last bits differ from torch's."""
    mean, variance = cast(Tensor, norm.running_mean).numpy(), cast(Tensor, norm.running_var).numpy()
    weight = convolution.weight.detach().numpy()
    bias = np.zeros_like(mean) if convolution.bias is None else convolution.bias.detach().numpy()
    scale = norm.weight.detach().numpy() / np.sqrt(variance + norm.eps)
    shifted = (bias - mean) * scale + norm.bias.detach().numpy()
    convolution.weight = nn.Parameter(torch.from_numpy(weight * scale.reshape(-1, 1, 1, 1)), requires_grad=False)
    convolution.bias = nn.Parameter(torch.from_numpy(shifted), requires_grad=False)
