"""The whole table against the real networks: everything for a small one of each architecture, the meta device for every row.

`make test-all` does everything for every row, and writes what was checked to docs/backbones.md.
"""

import gc
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from tests.models import table
from tl_core.documents.options import DEFAULT_NETWORK
from tl_core.models.build import Backbone
from tl_core.models.metadata.rows import meta_network
from tl_core.models.registry import Network, network

ROWS = table.shipped()


def smallest_of_each_architecture() -> list[str]:
    """By multiply-adds: of torchvision's, and the embedded one; test_timm.py has those of timm."""
    best = {"": network(DEFAULT_NETWORK)}
    for row in ROWS.values():
        if row.source == "torchvision" and row.gflops < best.setdefault(row.layout.published, row).gflops:
            best[row.layout.published] = row
    return [row.name for row in best.values()]


SMALL = smallest_of_each_architecture()
EXPORTED = ("squeezenet1_1", "vit_b_32")
"""Exported in `make test`, with one block of each kind: a head and a layout that differ from a plain network's; test_timm.py has a ResNet.
`make test-all` exports every network, with all its blocks."""


@pytest.fixture(scope="module")
def backbone(request: pytest.FixtureRequest) -> Iterator[Backbone]:
    """With random weights; shared by the tests of one network, so they leave it as it is."""
    yield table.make(network(request.param))
    gc.collect()


small = pytest.mark.parametrize("backbone", SMALL, indirect=True)


@small
@pytest.mark.parametrize("check", [name for name in table.CHECKS if name != "ONNX"])
def test_a_network_of_each_architecture(backbone: Backbone, check: str) -> None:
    table.CHECKS[check](backbone)


@pytest.mark.parametrize("name", EXPORTED)
def test_an_exported_graph_answers_as_torch_does(name: str) -> None:
    table.check_graph(table.make_shallow(network(name), repeats=1, later=1))


def meta_backbone(row: Network) -> Backbone:
    """At the default weights' size, without values."""
    size = row.weights_row().input_size
    backbone = Backbone(row, meta_network(row.builder, row.layout, size), row.weights_row())
    backbone.set_head(nn.Linear(row.embedding_size, table.CLASSES, device="meta"))
    return backbone.to("meta")


@pytest.mark.parametrize("published", sorted({row.layout.published for row in ROWS.values()}))
def test_head_and_stages_of_every_row(published: str) -> None:
    for row in ROWS.values():
        if row.layout.published != published:
            continue
        backbone = meta_backbone(row)
        table.check_stages(backbone)
        x = torch.empty(2, 3, row.weights_row().input_size, row.weights_row().input_size, device="meta")
        shapes = []
        with torch.no_grad():
            for _, stage in backbone.stages:
                x = stage(x)
                shapes.append(tuple(x.shape[1:]))
            embedding, spatial = backbone.pool(x), backbone.map(x)
        assert tuple(shapes) == row.stage_shapes, row.name
        assert spatial.shape == (2, *row.map_shape)
        assert embedding.shape == (2, row.embedding_size)
        normalised = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in backbone.modules())
        assert row.layout.batch_norm == normalised, row.name
        assert backbone.head is not None
        assert backbone.head(embedding).shape == (2, table.CLASSES)
        for auxiliary in row.layout.auxiliary:
            layer = backbone.module.get_submodule(auxiliary.head)
            assert layer.weight.shape == (table.CLASSES, auxiliary.features)


def test_the_document_lists_every_network() -> None:
    assert list(table.recorded()) == list(ROWS)


@pytest.fixture(scope="module")
def results() -> Iterator[dict[str, str]]:
    """What was checked, by network; written to docs/backbones.md at the end."""
    found: dict[str, str] = {}
    yield found
    table.write_document(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ROWS))
def test_everything_for_every_row(name: str, results: dict[str, str]) -> None:
    results[name] = "failed"
    results[name] = table.check_all(name)
    gc.collect()
