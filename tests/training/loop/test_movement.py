"""What moved is told exactly, stage by stage, and only of what learns."""

from __future__ import annotations

import pytest
import torch

from tests.training.twin import twin
from tl_core.training.loop.stages import stage_movement

pytestmark = pytest.mark.usefixtures("twin_family")


def test_a_planted_change_is_measured_exactly() -> None:
    backbone = twin()
    before = {name: tensor.clone() for name, tensor in backbone.tensors(head=False).items()}
    with torch.no_grad():
        for parameter in backbone.stage_parameters(1):
            parameter.mul_(1.25)
        for parameter in backbone.head_parameters():
            parameter.mul_(7)
    stem, last = stage_movement(before, backbone, {1})
    assert (stem.name, stem.distance, stem.learned) == ("stem", 0.0, False)
    assert (last.name, last.learned) == ("stage1", True)
    assert last.distance == pytest.approx(0.25, rel=1e-6)
    assert last.parameters == sum(parameter.numel() for parameter in backbone.stage_parameters(1))


def test_statistics_of_batch_norm_are_no_movement() -> None:
    backbone = twin()
    before = {name: tensor.clone() for name, tensor in backbone.tensors().items()}
    backbone.train()
    with torch.no_grad():
        backbone(torch.randn(8, 3, 32, 32))
    assert not torch.equal(before["stem.1.running_mean"], backbone.tensors()["stem.1.running_mean"])
    assert [row.distance for row in stage_movement(before, backbone, {0, 1})] == [0.0, 0.0]
