"""Tries the GPU that this process sees: `python -m tl_core.runs.process.probe` prints a `Card` as one line of JSON.

It is a process of its own because an error in CUDA ends every later use of the GPU in the process, and so that who asks needs no torch.
"""

import sys
import time
from importlib import import_module
from typing import Any, get_args

import numpy as np

from tl_core.documents.gpu_card import BFLOAT16_SINCE, Card
from tl_core.documents.spec import Precision
from tl_core.errors import memory_ran_out

_TOLERANCE = 0.01
"""Largest error of a result, as a share of its largest value; rounding to bfloat16 alone gives 0.004."""
_SIDE, _SECONDS = 2048, 0.00125
"""Rows of the square matrices whose product in float32 is timed, and its seconds on the GPU of the table of speeds: 14 teraflops."""
_BUSY = "busy or unavailable"
"""What CUDA says of a GPU that another process has for itself."""


def probed() -> Card:
    """The first GPU that torch sees: what it is, and in which precisions it computes."""
    card = Card()
    try:
        torch: Any = import_module("torch")
        torch.cuda.init()
        gpu = torch.cuda.get_device_properties(0)
        card = Card(name=gpu.name, capability=(gpu.major, gpu.minor), memory_mb=round(gpu.total_memory / 1e6, 1))
        works = tuple(precision for precision in get_args(Precision) if _computes(torch, precision))
        card = card.model_copy(update={"slowness": _slowness(torch) if works else 1.0})
    except Exception as error:  # noqa: BLE001 - whatever torch raises is the answer
        if card.name and (memory_ran_out(error) or _BUSY in str(error)):
            lacking = () if card.capability >= BFLOAT16_SINCE else ("bfloat16",)
            usual = tuple(precision for precision in get_args(Precision) if precision not in lacking)
            return card.model_copy(update={"precisions": usual, "tried": False})
        lines = [*str(error).strip().splitlines(), type(error).__name__]
        return card.model_copy(update={"problem": lines[0]})
    problem = None if works else "its results are wrong"
    return card.model_copy(update={"precisions": works, "problem": problem})


def _computes(torch: Any, precision: Precision) -> bool:
    """Whether a matrix product and a convolution in `precision` give what NumPy gives. In float32, torch's error is raised."""
    generator = np.random.default_rng(0)
    left, right = generator.integers(-3, 4, (2, 64, 64)).astype(np.float64)
    images, kernels = generator.integers(-3, 4, (2, 8, 16, 16)), generator.integers(-3, 4, (8, 8, 3, 3))
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(2, 3))
    expected = left @ right, np.einsum("nchwij,ocij->nohw", windows, kernels)

    def on_card(array: Any) -> Any:
        return torch.tensor(array.tolist(), dtype=getattr(torch, precision), device="cuda")

    try:
        product = on_card(left) @ on_card(right)
        convolved = torch.nn.functional.conv2d(on_card(images), on_card(kernels))
        computed = [np.asarray(result.float().cpu().tolist()) for result in (product, convolved)]
    except RuntimeError as error:
        if precision == "float32" or memory_ran_out(error):
            raise
        return False
    return all(
        np.abs(result - true).max() <= _TOLERANCE * np.abs(true).max()
        for result, true in zip(computed, expected, strict=True)
    )


def _slowness(torch: Any) -> float:
    """Time of a matrix product in float32, the shortest of a few, divided by that on the GPU of the table of speeds."""
    matrix, seconds = torch.zeros(_SIDE, _SIDE, device="cuda"), []
    for _ in range(8):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        matrix @ matrix
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return round(min(seconds) / _SECONDS, 3)


if __name__ == "__main__":
    sys.stdout.write(probed().model_dump_json() + "\n")
