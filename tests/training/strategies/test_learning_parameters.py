"""The names of what learns are those that the optimizer gets in the network itself."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.training.twin import spec
from tl_core.models.build import Backbone
from tl_core.models.graphs.export import TENSORS_NAME, parameter_shapes
from tl_core.models.metadata.rows import meta_network
from tl_core.models.registry import network
from tl_core.training.strategies.strategies import learning_parameters, misfit, strategy
from tl_core.training.strategies.what_learns import insert_updates, stage_groups

RANK = 8
_TYPES = {torch.float32: "F32", torch.int64: "I64"}


def _write_sparse(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write a safetensors file whose header names `tensors` and whose zeros take no disk."""
    header, end = {}, 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + end)


@pytest.mark.parametrize(
    "name",
    ["resnet18", "vit_b_32", "convnext_tiny", "mobilenet_v3_small", "swin_v2_t", "googlenet", "eva02_tiny_patch14_336"],
)
def test_names_and_shapes_are_those_of_what_learns_in_the_network(name: str, tmp_path: Path) -> None:
    row = network(name)
    for number, chosen in enumerate(
        ("feature_extraction", "partial_fine_tuning", "surgical", "lp_ft", "bias_and_norm", "lora")
    ):
        own = strategy(chosen)
        if misfit(own, row, 2):
            continue
        backbone = Backbone(row, meta_network(row.builder, row.layout, row.weights_row().input_size), row.weights_row())
        if number == 0:
            _write_sparse(backbone.module.state_dict(), tmp_path / TENSORS_NAME)
        backbone.set_head(nn.Linear(row.embedding_size, 5, device="meta"))
        if own.parameters.low_rank:
            insert_updates(backbone, RANK, 0)
        names = {id(parameter): path for path, parameter in backbone.module.named_parameters()}
        learning = (1,) if own.learns == "one" else None
        groups = stage_groups(backbone, own, spec(stages=2, strategy=chosen, learning_stages=learning))
        learns = [*(one for group in groups for one in group["params"]), *backbone.head_parameters()]
        expected = {names[id(parameter)]: tuple(parameter.shape) for parameter in learns}
        found = learning_parameters(row, own, 2, parameter_shapes(tmp_path), classes=5, rank=RANK, learning=learning)
        assert found == expected, chosen
