"""A driver of NVIDIA's and a PyTorch for machines without a GPU: what `pynvml` and `torch` answer where there are some."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

T4: dict[str, object] = {"capability": (7, 5), "precisions": ["float32", "float16", "bfloat16"]}
L4: dict[str, object] = {"capability": (8, 9), "precisions": ["float32", "float16", "bfloat16"]}
"""What `write_torch` is told of two cards."""


class NVMLError(Exception):
    """What the driver raises for a card that it does not know."""


@dataclass
class FakeGpu:
    """A GPU, or an instance of one that is split."""

    uuid: str
    name: str
    free_gb: float = 8.0
    instances: list[FakeGpu] = field(default_factory=list)


class Driver:
    """`pynvml` on a machine with `cards`."""

    NVMLError = NVMLError

    def __init__(self, *cards: FakeGpu, version: str = "580.65.06", cuda: int = 13000) -> None:
        self.cards, self.version, self.cuda = cards, version, cuda
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802 - the library's name
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return self.version

    def nvmlSystemGetCudaDriverVersion(self) -> int:  # noqa: N802
        return self.cuda

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:  # noqa: N802
        return self.cards[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> FakeGpu:  # noqa: N802
        for card in self.cards:
            for known in (card, *card.instances):
                if known.uuid == uuid:
                    return known
        raise NVMLError("Not Found")

    def nvmlDeviceGetUUID(self, card: FakeGpu) -> str:  # noqa: N802
        return card.uuid

    def nvmlDeviceGetName(self, card: FakeGpu) -> str:  # noqa: N802
        return card.name

    def nvmlDeviceGetMemoryInfo(self, card: FakeGpu) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(free=int(card.free_gb * 1e9))

    def nvmlDeviceGetMigMode(self, card: FakeGpu) -> list[int]:  # noqa: N802
        if not card.instances:
            raise NVMLError("Not Supported")
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, card: FakeGpu) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: FakeGpu, index: int) -> FakeGpu:  # noqa: N802
        if index >= len(card.instances):
            raise NVMLError("Not Found")
        return card.instances[index]


_TORCH = """
import os
import types
import numpy as np

CARDS = {cards!r}
float32, float16, bfloat16 = "float32", "float16", "bfloat16"
with open(os.path.join(os.path.dirname(__file__), "imported"), "a") as log:
    log.write(os.environ["CUDA_VISIBLE_DEVICES"] + " " + os.environ["CUDA_DEVICE_ORDER"] + "\\n")


class OutOfMemoryError(RuntimeError):
    pass


class Tensor:
    def __init__(self, values):
        self.values = np.asarray(values)

    def __matmul__(self, other):
        return Tensor(self.values @ other.values)

    def float(self):
        return self

    cpu = float

    def tolist(self):
        return self.values.tolist()


def own():
    return CARDS[os.environ["CUDA_VISIBLE_DEVICES"]]


def init():
    if own().get("dies"):
        os._exit(11)
    if own().get("unseen"):
        raise RuntimeError(own()["unseen"])


def tensor(values, dtype, device):
    assert device == "cuda"
    if own().get("full"):
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB.")
    if dtype not in own()["precisions"]:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\\nMore words.")
    return Tensor(np.asarray(values) + (dtype in own().get("wrong", ())))


def zeros(rows, columns, device):
    return tensor(np.zeros((64, 64)), "float32", device)


def conv2d(images, kernels):
    windows = np.lib.stride_tricks.sliding_window_view(images.values, (3, 3), axis=(2, 3))
    return Tensor(np.einsum("nchwij,ocij->nohw", windows, kernels.values))


cuda = types.SimpleNamespace(
    init=init,
    synchronize=lambda: None,
    get_device_properties=lambda number: types.SimpleNamespace(
        name="As PyTorch calls it", major=own()["capability"][0], minor=own()["capability"][1], total_memory=own().get("memory", 16_000_000_000)
    ),
)
nn = types.SimpleNamespace(functional=types.SimpleNamespace(conv2d=conv2d))
"""


def write_torch(folder: Path, cards: dict[str, dict[str, object]], *, cuda: str | None = "13.0") -> Path:
    """Write a package `torch` into `folder` that was built for `cuda` and answers as on `cards`, by their ids. Returns its folder.

    A card says its `capability`, the `precisions` in which it computes, and those of them that it computes `wrong`; its `memory` in bytes,
    if that is not 16 GB; whether it is `full`, whether the process `dies` at the first touch, or the reason why it is `unseen`. The file `imported` in the
    package has a line for each import: the values of CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER.
    """
    package = folder / "torch"
    package.mkdir(parents=True, exist_ok=True)
    (package / "version.py").write_text(f"__version__ = '2.13.0'\ncuda: str | None = {cuda!r}\n")
    (package / "__init__.py").write_text(_TORCH.replace("{cards!r}", repr(cards)))
    return package


def write_driver(folder: Path, *cards: FakeGpu) -> None:
    """Write a module `pynvml` into `folder` by which child processes that find it first see `cards`."""
    text = f"import sys\nfrom tests.gpus import Driver, FakeGpu\n\nsys.modules[__name__] = Driver(*{list(cards)!r})\n"
    (folder / "pynvml.py").write_text(text)
