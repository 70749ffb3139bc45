"""How often runs take as long as it was said before them: twelve combinations of network, strategy and image size, a run each.

    python benchmarks/estimates.py

The first range is that of a workspace without any run, which knows the table of speeds and how fast the device was once; the later one
is that of a workspace with the runs of the rows above it. Networks other than EfficientNet-Lite0 get random weights, which take the same
time. It takes about eight minutes on two cores; other work on the machine makes it worthless.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tl_core.documents.options import TrainingOptions  # noqa: E402
from tl_core.models.registry import network  # noqa: E402
from tl_core.runs.start import jobs  # noqa: E402
from tl_core.runs.start.training_spec import setup_of  # noqa: E402
from tl_core.runs.store.folders import RunFolder  # noqa: E402
from tl_core.runs.store.store import Store  # noqa: E402
from tl_core.runs.train import plan  # noqa: E402
from tl_core.runs.train.plan import expected  # noqa: E402

PICTURES = "tableware"
"""A sample that comes with Graft: 300 pictures."""
COMBINATIONS: tuple[dict[str, Any], ...] = (
    {"strategy": "feature_extraction"},
    {"strategy": "partial_fine_tuning"},
    {"strategy": "full_fine_tuning", "image_size": 160, "epochs": 4},
    {"backbone": "mobilenet_v3_small", "strategy": "feature_extraction"},
    {"backbone": "mobilenet_v3_small", "strategy": "lp_ft", "epochs": 3},
    {"backbone": "resnet18", "strategy": "partial_fine_tuning", "image_size": 160},
    {"backbone": "resnet18", "strategy": "full_fine_tuning", "image_size": 96},
    {"backbone": "mobilenetv4_conv_small", "strategy": "surgical", "image_size": 160, "epochs": 3},
    {"backbone": "regnet_y_400mf", "strategy": "discriminative_lr", "image_size": 96, "epochs": 3},
    {"backbone": "convnextv2_atto", "strategy": "gradual_unfreezing", "image_size": 96},
    {"backbone": "deit_tiny_patch16_224", "strategy": "lora", "image_size": 96},
    {"backbone": "densenet121", "strategy": "from_scratch", "image_size": 64, "epochs": 3},
)
HEADER = "| network | strategy | size | first, s | later, s | took, s | took / middle of first, later | memory said, had, MB |"
WIDEST = 3.0


@dataclass(frozen=True)
class Row:
    """One run, and what was said of it before."""

    name: str
    """Network, strategy and size, as cells of the table."""
    first: tuple[float, float]
    later: tuple[float, float]
    """Seconds, from and to."""
    took: float
    memory_mb: float
    """That which was said first."""
    peak_mb: float

    @classmethod
    def of(cls, run: RunFolder, first: tuple[float, float], memory_mb: float) -> Row:
        """The row of a finished `run`; its worker wrote the later range into the spec."""
        spec, status = run.spec(), run.status()
        if status.state != "succeeded" or spec.estimated_seconds is None:
            raise SystemExit(f"{run.path} has not ended well: {status.failure}")
        name = f"{spec.backbone} | {spec.strategy} | {spec.image_size}"
        later, took = spec.estimated_seconds, status.seconds["total"]
        return cls(name, first, later, took, memory_mb, status.peak_memory_mb or 0.0)

    def __str__(self) -> str:
        ranges = " | ".join(f"{low:.0f} to {high:.0f}" for low, high in (self.first, self.later))
        ratios = ", ".join(f"{self.took / sqrt(low * high):.2f}" for low, high in (self.first, self.later))
        return f"| {self.name} | {ranges} | {self.took:.1f} | {ratios} | {self.memory_mb:.0f}, {self.peak_mb:.0f} |"


def verdict(rows: list[Row]) -> list[str]:
    """What the rows say together: how many ranges held, and how many are wider than is of use. A later range is not that of the first row."""
    lines = []
    for word, ranges in (("first", [row.first for row in rows]), ("later", [row.later for row in rows[1:]])):
        taken = [row.took for row in rows[-len(ranges) :]]
        held = sum(low <= took <= high for (low, high), took in zip(ranges, taken, strict=True))
        wide = sum(high > WIDEST * (low + 0.05) + 0.05 for low, high in ranges)
        lines.append(
            f"The {word} range held in {held} of {len(ranges)} ({held / len(ranges):.0%}); {wide} wider than 1 : 3."
        )
    return lines


def give_weights(folder: Path) -> None:
    """Write random weights of all networks but the embedded one to `folder`, the operator's."""
    from safetensors.torch import save_file

    from tl_core.models.build import build

    for name in {str(asked["backbone"]) for asked in COMBINATIONS if "backbone" in asked}:
        row = network(name)
        tensors = build(row, weights=None, classes=1000, seed=0, like=row.default_weights).tensors()
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / f"{name}.safetensors")
    os.environ["GRAFT_WEIGHTS_DIR"] = str(folder)


def main() -> None:
    with tempfile.TemporaryDirectory() as store, tempfile.TemporaryDirectory() as weights:
        os.environ["GRAFT_STORE"] = store
        give_weights(Path(weights))
        workspace = Store.default().command_line_workspace()
        dataset = jobs.submit_ingest(workspace, source_kind="sample", source=PICTURES, name=PICTURES)
        jobs.wait(dataset, None)
        sys.stdout.write(f"{HEADER}\n| --- | --- | --- | --- | --- | --- | --- | --- |\n")
        rows: list[Row] = []
        for asked in COMBINATIONS:
            with mock.patch.object(plan, "_former_runs", return_value=()):
                _, first = expected(setup_of(TrainingOptions(**asked), dataset), dataset)
            run = jobs.submit_training(workspace, dataset, **asked)
            jobs.wait(run, None)
            rows.append(Row.of(run, (first.low, first.high), first.memory_mb))
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
        sys.stdout.write("\n".join(["", *verdict(rows), ""]))


if __name__ == "__main__":
    main()
