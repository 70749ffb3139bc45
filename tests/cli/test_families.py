"""A network of every family, with random weights, through the command line: trained, exported, asked. `make test-all` only."""

from pathlib import Path

import pytest

from tests.cli.conftest import Terminal
from tests.conftest import PictureFolder
from tl_core.models.registry import Network, networks

SMALL = 64
"""Pixels: a map of more than one position, in little time."""
MANY_PARAMETERS = 300_000_000
"""From here on, weights, gradients and AdamW's two averages take more than the 6 GB that a small machine has."""


def _cheapest_of_each_family() -> dict[str, Network]:
    found: dict[str, Network] = {}
    for row in networks().values():
        if row.family not in found or row.gflops < found[row.family].gflops:
            found[row.family] = row
    return found


CHEAPEST = _cheapest_of_each_family()


def _size(row: Network) -> int:
    if row.fixed_size:
        return row.weights_row().input_size
    return -(-max(SMALL, row.smallest_size) // row.size_step) * row.size_step


@pytest.mark.slow
@pytest.mark.parametrize("family", CHEAPEST)
def test_trains_exports_and_predicts(
    family: str, picture_folder: PictureFolder, tmp_path: Path, terminal: Terminal
) -> None:
    row = CHEAPEST[family]
    if row.parameters > MANY_PARAMETERS:
        pytest.skip(
            f"{row.name} has {row.parameters / 1e6:.0f} million parameters, which is too much for a small machine."
        )
    data, run, bundle = picture_folder({"cat": 8, "dog": 8}), tmp_path / "run", tmp_path / "bundle.zip"
    words = ["--backbone", row.name, "--strategy", "from_scratch", "--epochs", "1", "--image-size", str(_size(row))]
    result = terminal.json("train", data, *words, "--out", run)
    assert (result["backbone"], result["strategy"]) == (row.name, "from_scratch")
    terminal.out("export", run, "--out", bundle)
    (answer,) = terminal.json("predict", str(bundle), str(data / "cat" / "000.jpg"))
    assert {entry["label"] for entry in answer["top"]} == {"cat", "dog"}
    assert sum(entry["probability"] for entry in answer["top"]) == pytest.approx(1, abs=1e-4)
