"""How far training took each stage from the pretrained weights. Needs torch; knows no pictures and no strategy."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from torch import Tensor

from tl_core.documents.report import StageMoved
from tl_core.models.build import Backbone


def stage_movement(
    before: Mapping[str, Tensor], backbone: Backbone, learned_stages: Collection[int]
) -> tuple[StageMoved, ...]:
    """For each stage from the stem up, the length of its parameters' change over their length before.

    `before` are the pretrained tensors by the library's names (`Backbone.tensors`; the head's may be missing);
    `learned_stages` the numbers of those that were trained. Statistics of batch norm are no parameters and do not count:
    they move by being looked at. Where low-rank updates were trained, they are to be folded in first.

    Raises:
        KeyError: `before` lacks a tensor of a stage.
    """
    names = {id(parameter): name for name, parameter in backbone.module.named_parameters()}
    rows = []
    for number, (stage, _) in enumerate(backbone.stages):
        change, length, count = 0.0, 0.0, 0
        for parameter in backbone.stage_parameters(number):
            start = before[names[id(parameter)]].detach().double().cpu()
            now = parameter.detach().double().cpu().reshape(start.shape)
            change += float((now - start).square().sum())
            length += float(start.square().sum())
            count += parameter.numel()
        rows.append(
            StageMoved(
                name=stage,
                distance=math.sqrt(change / length) if length else 0.0,
                parameters=count,
                learned=number in learned_stages,
            )
        )
    return tuple(rows)
