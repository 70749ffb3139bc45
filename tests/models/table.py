"""What every row of the table must hold, checked on the real network, and docs/backbones.md, which says what was checked.

`python -m tests.models.table NAME...` runs everything for these networks, or for all, and writes the document; so does
`make test-all`. Networks are built with random weights.
"""

import copy
import gc
import sys
import tempfile
import traceback
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from tl_core.errors import ModelError
from tl_core.models.build import Backbone, build, library_network
from tl_core.models.graphs.edit import attach_head
from tl_core.models.graphs.from_torch import export_backbone
from tl_core.models.metadata.rows import meta_network
from tl_core.models.registry import BACKBONES_FILE, Backbones, Network, network
from tl_core.serving.onnx_graph import Ends
from tl_core.serving.onnx_graph import check_graph as check_bundle_graph

CLASSES = 7
DOCUMENT = Path(__file__).parents[2] / "docs" / "backbones.md"
BETWEEN = "<!-- the table: written by tests/models/table.py -->"


def shipped() -> dict[str, Network]:
    """The rows of backbones.json; not those that were added by name in some store."""
    return {row.name: row for row in Backbones.read(BACKBONES_FILE).networks}


def small_size(row: Network) -> int:
    """Pixels: the fewest at which the last map has more than one position; the smallest set's size where it is fixed."""
    if row.fixed_size:
        return min(weights.input_size for weights in row.weights)
    return -(-(row.smallest_size + 32) // row.size_step) * row.size_step


def make(row: Network) -> Backbone:
    """With random weights and a head for seven classes, for pictures of `small_size`."""
    size = small_size(row)
    if not row.fixed_size or size == row.weights_row().input_size:
        return build(row, weights=None, classes=CLASSES, seed=1)
    torch.manual_seed(1)
    backbone = Backbone(row, library_network(row.builder, row.layout, size), row.weights_row())
    backbone.set_head(nn.Linear(row.embedding_size, CLASSES))
    return backbone.eval()


class _Passing(nn.Module):
    """Gives what it is given, whatever else it is told."""

    def forward(self, x: Tensor, *more: object, **options: object) -> Tensor:
        return x


def make_shallow(
    row: Network, *, size: int | None = None, classes: int = CLASSES, repeats: int = 1, later: int | None = None
) -> Backbone:
    """As `make`, but with only some of the blocks that are alike (see `skip_repeated`): a graph of the same operations is written several times faster."""
    torch.manual_seed(1)
    module = library_network(row.builder, row.layout, size or small_size(row))
    skip_repeated(module, repeats, later=later)
    backbone = Backbone(row, module, row.weights_row())
    backbone.set_head(nn.Linear(row.embedding_size, classes))
    return backbone.eval()


def skip_repeated(module: nn.Module, repeats: int, *, later: int | None = None) -> None:
    """Let only the first `repeats` of the blocks that are alike in a row do something; of the rows after the first one, the first `later`."""
    for parent in [part for part in module.modules() if isinstance(part, nn.Sequential | nn.ModuleList)]:
        known: list[object] = []
        alike = False
        for name, child in list(parent.named_children()):
            kind = (type(child), [value.shape for value in child.parameters()])
            if sum(1 for _ in child.modules()) > 4:
                if known.count(kind) >= repeats:
                    setattr(parent, name, _Passing())
                alike = alike or kind in known
            known.append(kind)
        if alike and later is not None:
            repeats = later


def pictures(row: Network, count: int) -> Tensor:
    size = small_size(row)
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8))


def close(given: Tensor, wanted: Tensor, *, tolerance: float = 1e-4) -> bool:
    """Within `tolerance` of the largest value, and numbers."""
    return given.shape == wanted.shape and bool((given - wanted).abs().max() <= tolerance * wanted.abs().max())


def check_head(backbone: Backbone) -> None:
    """The head has the right shape, in our words and in the library's; embedding, map and logits are what the row says."""
    row = backbone.network
    assert backbone.head is not None
    assert backbone.head.weight.shape == (CLASSES, row.embedding_size)
    assert backbone.tensors()[f"{row.head}.weight"].shape == (CLASSES, row.embedding_size, *row.layout.head_trailing)
    with torch.no_grad():
        x = backbone.normalise(pictures(row, 2))
        last = backbone.spatial(x)
        spatial, embedding = backbone.map(last), backbone.embed(x)
        assert spatial.ndim == 4
        assert spatial.shape[1] == row.map_shape[0]
        assert spatial.shape[2] == spatial.shape[3] > 1
        assert embedding.shape == (2, row.embedding_size)
        assert close(backbone.head(embedding), backbone(x))
        pooled = spatial.mean((2, 3))
        assert close(embedding, pooled) == row.layout.linear_on_pooled
        if row.layout.pooled_norm:
            norm = backbone.module.get_submodule(row.layout.pooled_norm)
            assert isinstance(norm, nn.LayerNorm)
            own = nn.functional.layer_norm(pooled, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
            assert close(embedding, own)


def check_stages(backbone: Backbone) -> None:
    """Every parameter of the backbone is in exactly one stage, from stem to head; their numbers are the row's."""
    row = backbone.network
    stages = [list(backbone.stage_parameters(number)) for number in range(len(row.stages))]
    counted, told = [sum(p.numel() for p in stage) for stage in stages], list(row.stage_parameters)
    # A network that takes pictures of one size has as many positions to learn in its stem as its default weights' size gives.
    first = 1 if row.fixed_size and small_size(row) != row.weights_row().input_size else 0
    assert counted[first:] == told[first:]
    assert [name for name, _ in backbone.stages] == list(row.stages)
    place = {id(p): number for number, stage in enumerate(stages) for p in stage}
    assert len(place) == sum(len(stage) for stage in stages)
    heads = {id(p) for p in backbone.head_parameters()}
    auxiliary = tuple(f"{entry.root}." for entry in row.layout.auxiliary)
    order = [
        place[id(p)]
        for name, p in backbone.module.named_parameters()
        if id(p) not in heads and not (auxiliary and name.startswith(auxiliary))
    ]
    assert len(order) == len(place)
    assert order == sorted(order)
    assert not heads & place.keys()


def check_cuts(backbone: Backbone) -> None:
    """Prefix and suffix at every boundary are the whole; what passes between is one tensor."""
    with torch.no_grad():
        x = backbone.normalise(pictures(backbone.network, 1))
        whole = backbone(x)
        for frozen in range(len(backbone.stages) + 1):
            between = backbone.prefix(frozen)(x)
            assert isinstance(between, Tensor)
            assert close(backbone.suffix(frozen)(between), whole), f"cut at {frozen}"
    for wrong in (-1, len(backbone.stages) + 1):
        with pytest.raises(ValueError, match="stages"):
            backbone.prefix(wrong)


def library_twin(backbone: Backbone) -> nn.Module:
    """The library's own network for as many classes, holding what `tensors` gave, in eval mode."""
    row = backbone.network
    options: dict[str, object] = {"num_classes": CLASSES}
    if any("@transform_input" in stage.modules for stage in row.layout.stages):
        options["transform_input"] = True
    # timm's keep tables that no file holds, which the meta device would lose.
    own = library_network if row.source == "timm" else meta_network
    twin = own(row.builder, row.layout, small_size(row), **options)
    if row.name.startswith("squeezenet"):
        twin.get_submodule("classifier")[2] = nn.Identity()  # type: ignore[operator]
    if row.name == "maxvit_t":
        twin.get_submodule("classifier")[5] = nn.Linear(row.embedding_size, CLASSES)  # type: ignore[operator]
    tensors = OrderedDict(backbone.tensors())
    if row.family == "mnasnet":
        tensors._metadata = {"": {"version": 2}}  # type: ignore[attr-defined]
    twin.load_state_dict(tensors, assign=True)
    return twin.eval()


def check_library(backbone: Backbone) -> None:
    """The library's network, filled by name with our tensors, answers as ours does."""
    with torch.no_grad():
        x = backbone.normalise(pictures(backbone.network, 2))
        assert close(library_twin(backbone)(x), backbone(x))


def check_training(backbone: Backbone) -> None:
    """One step moves exactly what is trainable, and batch norm's statistics in exactly the stages that learn."""
    backbone = copy.deepcopy(backbone).requires_grad_(False)
    frozen = len(backbone.stages) // 2
    learning = [p for stage in range(frozen, len(backbone.stages)) for p in backbone.stage_parameters(stage)]
    learning += backbone.head_parameters()
    for parameter in learning:
        parameter.requires_grad_(True)
    names = {name for name, p in backbone.module.named_parameters() if p.requires_grad}
    suffix = backbone.suffix(frozen).train()
    for module in suffix.modules():
        if type(module).__name__ == "StochasticDepth":
            module.p = 0.0  # a branch that is left out by chance does not learn
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            prefix = next(name for name, known in backbone.module.named_modules() if known is module)
            names |= {f"{prefix}.{name}" for name, _ in module.named_buffers()}
    before = {name: value.clone() for name, value in backbone.module.state_dict().items()}
    torch.manual_seed(3)
    with torch.no_grad():
        activations = backbone.prefix(frozen)(backbone.normalise(pictures(backbone.network, 4)))
    nn.functional.cross_entropy(suffix(activations), torch.arange(4)).backward()
    with torch.no_grad():
        for parameter in learning:
            assert parameter.grad is not None
            parameter -= 1e-3 * parameter.grad.sign()  # Adam's first step, without what it would remember
    after = backbone.module.state_dict()
    assert {name for name, value in after.items() if not torch.equal(value, before[name])} == names
    assert all(value.isfinite().all() for value in after.values())


def check_graph(backbone: Backbone) -> None:
    """ONNX Runtime answers as torch does: logits, embedding and map, for one picture and for five; a bundle may hold the graph."""
    row = backbone.network
    assert backbone.head is not None
    with tempfile.TemporaryDirectory() as folder:
        bare, whole = Path(folder) / "backbone.onnx", Path(folder) / "whole.onnx"
        export_backbone(backbone, small_size(row), bare)
        attach_head(bare, backbone.head.weight.detach().numpy(), backbone.head.bias.detach().numpy(), whole)
        assert sorted(file.name for file in Path(folder).iterdir()) == [bare.name, whole.name]
        check_bundle_graph(whole, Ends(CLASSES, small_size(row), row.embedding_size))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(whole, options)
        for count in (1, 5):
            images = pictures(row, count)
            with torch.no_grad():
                x = backbone.normalise(images)
                wanted = [backbone(x), backbone.embed(x), backbone.map(backbone.spatial(x))]
            answers = session.run(["logits", "embedding", "map"], {"images": images.numpy()})
            for given, expected in zip(answers, wanted, strict=True):
                assert close(torch.from_numpy(given), expected, tolerance=1e-3)


CHECKS: dict[str, Callable[[Backbone], None]] = {
    "head": check_head,
    "stages": check_stages,
    "cuts": check_cuts,
    "library": check_library,
    "training": check_training,
    "ONNX": check_graph,
}


def check_all(name: str) -> str:
    """Everything for one row; what was checked, for the table.

    Raises:
        AssertionError: a check failed.
    """
    backbone = make(network(name))
    done = []
    for word, check in CHECKS.items():
        try:
            check(backbone)
        except ModelError as error:
            if "ONNX file" not in str(error):
                raise
            done.append("too large for one ONNX file")
        else:
            done.append(word)
        gc.collect()
    return ", ".join(done)


def recorded() -> dict[str, str]:
    """What docs/backbones.md says was checked, by network."""
    if not DOCUMENT.exists():
        return {}
    rows = [line.split("|") for line in DOCUMENT.read_text(encoding="utf-8").split(BETWEEN)[-1].splitlines()]
    return {row[1].strip(" `"): row[-2].strip() for row in rows if len(row) > 8 and "`" in row[1]}


def write_document(results: dict[str, str]) -> None:
    """Put `results` into the table of docs/backbones.md; the other rows keep what they said."""
    known = {**recorded(), **results}
    lines = [
        "| network | family | sets of weights | parameters | stages | embedding | image sizes | checked |",
        "| --- | --- | --- | ---: | ---: | ---: | --- | --- |",
    ]
    for row in shipped().values():
        sizes = f"{row.smallest_size} and more" if row.size_step == 1 else f"multiples of {row.size_step}"
        if row.fixed_size:
            sizes = "only " + " or ".join(str(size) for size in sorted({w.input_size for w in row.weights}))
        cells = [
            f"`{row.name}`",
            row.layout.published,
            ", ".join(f"{w.name}{'' if w.licence != 'CC-BY-NC-4.0' else ' (not commercial)'}" for w in row.weights),
            f"{row.parameters:,}",
            str(len(row.stages)),
            str(row.embedding_size),
            sizes,
            known.get(row.name, "not run yet"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    text = DOCUMENT.read_text(encoding="utf-8").split(BETWEEN)[0]
    DOCUMENT.write_text(f"{text}{BETWEEN}\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


def main(names: list[str]) -> int:
    """Check these networks, or all; how many failed."""
    torch.set_num_threads(1)
    failed = 0
    for name in names or list(shipped()):
        try:
            result = check_all(name)
        except Exception as error:
            traceback.print_exc()
            result = f"failed: {type(error).__name__}"
            failed += 1
        write_document({name: result})
        print(name, result, flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
