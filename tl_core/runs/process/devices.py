"""Which device training uses here, and how it computes, found without torch in this process.

Whether PyTorch can use a GPU is known only when it was tried: a driver may be too old for the installed PyTorch, a card too old or too
new. So each card is tried once, in a process of its own (`probe`), and the store keeps the answer until the machine is started again or
another driver or PyTorch is installed.
"""

import hashlib
import importlib.util
import platform
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, cast

from tl_core import children, locks, settings
from tl_core.disk import modified
from tl_core.documents.gpu_card import Card, Processor
from tl_core.documents.options import DEFAULT_NETWORK, Device
from tl_core.documents.spec import Precision
from tl_core.errors import DeviceError, DocumentError, GraftError, NotFound, UnknownName
from tl_core.hardware import Gpu, available_mb, boot_id, driver_version, gpu_machine, gpus, machine, use_gpu
from tl_core.models import registry

RealDevice = Literal["cpu", "cuda", "mps"]
DEVICES: tuple[str, ...] = ("auto", "cpu", "cuda", "mps")

_TIME_LIMIT = 120.0
"""Seconds that trying one card may take: importing torch from a slow disk takes most of it."""
_AT_ONCE = 4
"""Cards that are tried at the same time; each process takes one or two gigabytes of memory."""
_FAILED_FOR = 3600.0
"""Seconds after which a card that did not work is tried again: its driver may have been starting."""
_PROCESSOR = "processor.json"
"""File of the store that says how fast the processor is."""
_WHEELS = "https://download.pytorch.org/whl/cu126"
"""PyTorch for CUDA 12.6, the one that runs with most drivers and on most cards."""
_OLDEST_CARD = (7, 5)
"""Compute capability of the oldest cards that PyTorch for CUDA 13 runs on."""


def precision_of(device: RealDevice) -> Precision:
    """The precision in which `device` trains here, on the card of `expected_card`."""
    card = expected_card() if device == "cuda" else None
    return card.fastest if card else "float32"


def detect_device() -> RealDevice:
    """The fastest device that PyTorch can use in a worker started from here."""
    if working_cards():
        return "cuda"
    return "mps" if platform.system() == "Darwin" and platform.machine() == "arm64" else "cpu"


def devices_here() -> tuple[RealDevice, ...]:
    """Every device that PyTorch can use here, the fastest first."""
    return tuple(dict.fromkeys((detect_device(), "cpu")))


def resolve_device(wanted: str) -> RealDevice:
    """The device that `wanted` ("auto", "cpu", "cuda", "mps") stands for here.

    Raises:
        UnknownName: it is none of those.
        DeviceError: it is not on this machine, or PyTorch cannot use it; then it says why and what to do.
    """
    if wanted not in DEVICES:
        raise UnknownName.among("device", wanted, DEVICES)
    here = detect_device()
    if wanted in ("auto", here):
        return here
    if wanted != "cpu":
        reason = unusable_gpu() if wanted == "cuda" else None
        raise DeviceError(
            reason or f"There is no {wanted!r} device here that PyTorch can use. Choose 'auto' or {here!r}."
        )
    return cast(RealDevice, wanted)


def expected_device(wanted: Device) -> RealDevice:
    """The device to expect before a job runs: for "auto" the one that is here; another one need not be here, but where jobs run."""
    return detect_device() if wanted == "auto" else wanted


def working_cards() -> tuple[Card, ...]:
    """The GPUs that PyTorch can use in a worker started from here, in the order of the driver; the first call may take a minute."""
    return tuple(card for card in _cards() if card.works)


def place_of(card: Card) -> Path:
    """The file whose lock a job holds while it works on `card`."""
    return settings.store_folder() / "queue" / "cuda" / f"lock-{plain_id(card.uuid)}"


def expected_card() -> Card | None:
    """The GPU on which a job would work that started now: the first free one, or the smallest where all are at work.

    In a job on a GPU it is the job's own. None where no GPU works.
    """
    cards = working_cards()
    free = (card for card in cards if not locks.held(place_of(card)))
    return next(free, None) or min(cards, key=lambda card: card.memory_mb, default=None)


def cards_differ() -> bool:
    """Whether the GPUs that work here are not all of one kind."""
    return len({(card.name, card.memory_mb) for card in working_cards()}) > 1


def machine_of(device: RealDevice) -> str:
    """`machine` of `device`; on a GPU, of the card of `expected_card`."""
    card = expected_card() if device == "cuda" else None
    return gpu_machine(card.name) if card else machine(device)


def slowness(device: RealDevice) -> float:
    """How many times as long as in the table of speeds `device` took when it was timed once; 1 where it was not."""
    if device == "cuda":
        card = expected_card()
        return card.slowness if card else 1.0
    processor = _processor() if device == "cpu" else None
    return processor.slowness if processor else 1.0


def time_processor(exported: Path) -> None:
    """Time the embedded backbone, exported to the folder `exported`, on this processor, unless that was done before.

    It takes less than a second. Other work on the machine makes the answer too large, which counts until the first run has ended.
    """
    if _processor() is not None:
        return
    from tl_core.models.graphs.export import ONNX_NAME
    from tl_core.training.frozen.onnx_runtime import seconds_an_image
    from tl_core.training.speed.estimate import forward_seconds

    network = registry.network(DEFAULT_NETWORK)
    size = network.weights_row().input_size
    slowness = seconds_an_image(exported / ONNX_NAME, size) / forward_seconds(network, size, "cpu")
    # Without a store that can be written to, nothing is kept.
    with suppress(OSError, GraftError):
        Processor(machine=machine("cpu"), slowness=round(slowness, 3)).write(settings.store_folder() / _PROCESSOR)


def _processor() -> Processor | None:
    """What was timed on this processor; None where nothing was."""
    with suppress(OSError, GraftError):
        processor = Processor.read(settings.store_folder() / _PROCESSOR)
        return processor if processor.machine == machine("cpu") else None
    return None


def room_mb(device: RealDevice) -> float | None:
    """Memory that a job which is started now will have on `device`, megabytes; None where that cannot be found out.

    Of a GPU on which another job works it is all, because the new job waits until that one has ended.
    """
    card = expected_card() if device == "cuda" else None
    if card is None:
        return available_mb(device)
    at_work = locks.held(place_of(card))
    return card.memory_mb if at_work and card.memory_mb else available_mb(device, gpu=card.uuid)


def take_card(card: Card) -> None:
    """Let this process, which has not imported torch yet, use no other GPU than `card`."""
    use_gpu(card.uuid)
    _cards.cache_clear()


@cache
def unusable_gpu() -> str | None:
    """Why no GPU is used although the driver has one, a sentence that says what to do; None where one is used or none is here."""
    here, (version, cuda) = gpus(), _installed()
    if not here or working_cards():
        return None
    install = f"pip install --force-reinstall torch torchvision --index-url {_WHEELS}"
    driver, newest = driver_version()
    problem = f"PyTorch {version} cannot use the {here[0].name} of this machine"
    if cuda is None:
        return f"{problem}, because it was installed without CUDA; install one for CUDA 12.6 ({install})."
    card = _cards()[0]
    if newest and newest // 1000 < int(cuda.split(".")[0]):
        return (
            f"{problem}, because it was built for CUDA {cuda} and driver {driver} is too old for that; update the driver, or install "
            f"PyTorch for CUDA 12.6 ({install})."
        )
    if card.capability != (0, 0) and card.capability < _OLDEST_CARD:
        return (
            f"{problem}, because the card is older than what it was built for; install PyTorch for CUDA 12.6, which may still "
            f"know it ({install})."
        )
    return f"{problem} (driver {driver}, CUDA {cuda}): {(card.problem or '').rstrip('.')}; see whether nvidia-smi works, and start Graft again."


@cache
def _cards() -> tuple[Card, ...]:
    """Each GPU that this process may use, as it was found when PyTorch tried it; empty where PyTorch was not built for CUDA."""
    here = gpus() if _installed().cuda else []
    if not here:
        return ()
    folder = settings.store_folder() / "gpus"
    tried = [_kept(folder, gpu) for gpu in here]
    if all(tried):
        return tuple(filter(None, tried))
    with ExitStack() as turn, ThreadPoolExecutor(_AT_ONCE) as pool:
        # Without a store that can be written to, nothing is kept.
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            turn.enter_context(locks.holding(folder / "lock", patience=_TIME_LIMIT * len(here)))
        return tuple(pool.map(lambda gpu: _kept(folder, gpu) or _tried(folder, gpu), here))


def _tried(folder: Path, gpu: Gpu) -> Card:
    """Let PyTorch try `gpu` in a process of its own, and keep the answer."""
    seen = children.environment(CUDA_DEVICE_ORDER="PCI_BUS_ID", CUDA_VISIBLE_DEVICES=gpu.uuid)
    try:
        done = subprocess.run(
            children.command("tl_core.runs.process.probe"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=seen,
            timeout=_TIME_LIMIT,
            check=False,
        )
        # Libraries may have written something before.
        card = Card.parse(done.stdout.splitlines()[-1] if done.stdout else b"", "What the trial of a GPU printed")
    except subprocess.TimeoutExpired:
        card = Card(problem=f"it did not answer within {_TIME_LIMIT:.0f} seconds")
    except DocumentError:
        card = Card(problem=f"the process that tried it ended with code {done.returncode}")
    card = card.model_copy(update={"uuid": gpu.uuid, "name": gpu.name, "found_with": _found_with()})
    if card.tried:
        with suppress(OSError, GraftError):
            card.write(_file(folder, gpu))
    return card


def _kept(folder: Path, gpu: Gpu) -> Card | None:
    """What was found of `gpu` since the machine was started, with this driver and PyTorch; None where it has to be tried."""
    file = _file(folder, gpu)
    try:
        card = Card.read(file)
    except (OSError, NotFound, DocumentError):
        return None
    fresh = card.works or time.time() - modified(file) < _FAILED_FOR
    return card if fresh and card.found_with == _found_with() else None


def _file(folder: Path, gpu: Gpu) -> Path:
    return folder / f"{plain_id(gpu.uuid)}.json"


def plain_id(uuid: str) -> str:
    """The id of a GPU as a part of a file's name: older drivers name an instance `MIG-GPU-.../1/0`."""
    return re.sub(r"[^\w-]", "_", uuid)


def _found_with() -> str:
    text = "\n".join(map(str, (boot_id(), driver_version(), _installed())))
    return hashlib.sha256(text.encode()).hexdigest()[:40]


class _PyTorch(NamedTuple):
    """What the version file of the installed PyTorch says."""

    version: str
    cuda: str | None
    """The version of CUDA that it was built for, such as "12.6"."""


def _installed() -> _PyTorch:
    package = importlib.util.find_spec("torch")
    if package is None or package.origin is None:
        return _PyTorch("", None)
    try:
        text = (Path(package.origin).parent / "version.py").read_text()
    except OSError:
        return _PyTorch("", None)
    version, cuda = (
        re.search(rf"^{name}\b[^=\n]*=\s*['\"]([^'\"]+)", text, re.MULTILINE) for name in ("__version__", "cuda")
    )
    return _PyTorch(version[1] if version else "", cuda[1] if cuda else None)
