"""Batch norms are folded where only they read a convolution, and the graph is then that which the exporter would have folded, up to rounding."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from tl_core.models.build import build
from tl_core.models.graphs import from_torch
from tl_core.models.graphs.from_torch import fold_batch_norms
from tl_core.models.registry import network

IMAGES = torch.rand(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def _with_statistics(module: nn.Module) -> nn.Module:
    """`module` in eval mode, with batch norms as a training leaves them."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d) and part.affine and part.track_running_stats:
            for tensor in (part.weight, part.bias, part.running_mean):
                nn.init.normal_(tensor)
            nn.init.uniform_(part.running_var, 0.3, 3)
    return module.eval().requires_grad_(False)


def _folded(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm2d) and "forward" in vars(part)]


class _Block(nn.Module):
    """One convolution and one norm, joined in the way that `kind` names."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=kind == "bias", groups=4 if kind == "depthwise" else 1)
        plain = {"no scale": {"affine": False}, "no statistics": {"track_running_stats": False}}.get(kind, {})
        self.norm = BatchNormAct2d(4, eps=1e-3, drop_layer=None) if kind == "timm" else nn.BatchNorm2d(4, **plain)

    def forward(self, x: Tensor) -> Any:
        between = self.conv(x)
        if self.kind == "twice":
            between = self.conv(between)
        if self.kind == "activation":
            between = between.relu()
        y = self.norm(between)
        if self.kind == "also added":
            return y + between
        if self.kind == "also given":
            return y, between
        return y


@pytest.mark.parametrize("kind", ["bare", "bias", "depthwise", "timm"])
def test_a_norm_after_a_convolution_is_folded(kind: str) -> None:
    block = _with_statistics(_Block(kind))
    before = block(IMAGES)
    fold_batch_norms(block, IMAGES[:1])
    assert _folded(block) == [block.norm]
    assert torch.allclose(block(IMAGES), before, atol=1e-5)


@pytest.mark.parametrize("kind", ["twice", "activation", "also added", "also given", "no scale", "no statistics"])
def test_a_norm_that_is_not_the_only_reader_stays(kind: str) -> None:
    block = _with_statistics(_Block(kind))
    before = block(IMAGES)
    fold_batch_norms(block, IMAGES[:1])
    assert not _folded(block)
    torch.testing.assert_close(block(IMAGES), before, rtol=0, atol=0)


def test_a_norm_of_another_kind_stays() -> None:
    class Doubled(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    block = _with_statistics(nn.Sequential(nn.Conv2d(4, 4, 1), Doubled(4)))
    fold_batch_norms(block, IMAGES[:1])
    assert not _folded(block)


def test_the_graph_is_the_one_that_the_exporter_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = build(network("resnet18"), weights=None, classes=None)
    _with_statistics(backbone)
    from_torch.export_backbone(backbone, 32, tmp_path / "folded.onnx")
    monkeypatch.setattr(from_torch, "fold_batch_norms", lambda *_: None)
    from_torch.export_backbone(backbone, 32, tmp_path / "unfolded.onnx")
    folded, unfolded = (_read(tmp_path / name) for name in ("folded.onnx", "unfolded.onnx"))
    assert [kind for kind, _ in folded] == [kind for kind, _ in unfolded]
    for (kind, one), (_, other) in zip(folded, unfolded, strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6, err_msg=kind)


def _read(path: Path) -> list[tuple[str, list[Any]]]:
    """Each node's kind and constants."""
    graph = onnx.load(path).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return [(node.op_type, [constants[name] for name in node.input if name in constants]) for node in graph.node]
