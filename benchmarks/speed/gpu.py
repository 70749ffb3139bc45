"""On a GPU: training on real pictures against the same network on a constant tensor that is on the device already (the ceiling).

    python -m benchmarks.speed.gpu FOLDER

Without one it says so and ends.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from benchmarks.speed.folders import many
from tl_core.data.pixels import read_input
from tl_core.documents.spec import TrainSpec
from tl_core.hardware import cores
from tl_core.models.build import build
from tl_core.models.registry import network
from tl_core.training.device import torch_device
from tl_core.training.loop.fit import be_deterministic
from tl_core.training.loop.inputs import Inputs
from tl_core.training.loop.steps import Running, Trainer
from tl_core.training.strategies.strategies import strategy

NETWORKS = ("resnet50", "convnext_tiny", "vit_b_16")
SIZE, BATCH, IMAGES, STEPS, WARM = 224, 128, 2048, 40, 10
STRATEGY = "full_fine_tuning"


def main() -> None:
    if not torch.cuda.is_available():
        print(
            json.dumps({"skipped": "No GPU on the machine where these figures were made, so this part was left out."})
        )
        return
    files = many(Path(sys.argv[1]), IMAGES)
    with ThreadPoolExecutor(cores()) as pool:
        pixels = np.stack(list(pool.map(lambda file: read_input(file, SIZE, "bilinear"), files)))
    found = {}
    for name in NETWORKS:
        found[name] = {"constant": _constant(name)}
    # As a run does, and only now: it is for the whole process.
    be_deterministic(torch.device("cuda"))
    for name in NETWORKS:
        found[name]["real"] = _real(name, pixels)
        torch.cuda.empty_cache()
    print(json.dumps({"device": torch.cuda.get_device_name(), "networks": found}), flush=True)


def _spec(name: str) -> TrainSpec:
    return TrainSpec(
        name="speed",
        workspace="none",
        dataset="none",
        backbone=name,
        weights=network(name).default_weights,
        strategy=STRATEGY,
        image_size=SIZE,
        device="cuda",
        batch_size=BATCH,
        micro_batch=BATCH,
        precision="bfloat16",
        channels_last=True,
        recipe=strategy(STRATEGY).recipe,
    )


def _real(name: str, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
    """Images a second of whole steps as a run takes them, augmentation included."""
    whole, spec = strategy(STRATEGY), _spec(name)
    backbone = build(network(name), weights=None, classes=10)
    inputs = Inputs.of_pixels(backbone, pixels, frozen=0, device=torch_device("cuda"), level=whole.recipe.augmentation)
    labels = np.arange(len(pixels)) % 10
    trainer = Trainer(backbone, inputs, labels, spec=spec, strategy=whole, frozen=0)
    order = np.random.default_rng(0).permutation(np.resize(np.arange(len(pixels)), STEPS * BATCH))
    running = Running()
    for step in range(STEPS):
        if step == WARM:
            torch.cuda.synchronize()
            started = time.perf_counter()
        for _ in trainer.step(order[step * BATCH : (step + 1) * BATCH], 1.0, draw=[0, step], running=running):
            pass
    torch.cuda.synchronize()
    return (STEPS - WARM) * BATCH / (time.perf_counter() - started)


def _constant(name: str) -> float:
    """Images a second of forward, backward and the optimizer's step on one batch that never changes."""
    device = torch.device("cuda")
    backbone = build(network(name), weights=None, classes=10).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=1e-4)
    images = torch.randn(BATCH, 3, SIZE, SIZE, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(BATCH, device=device) % 10
    for step in range(STEPS):
        if step == WARM:
            torch.cuda.synchronize()
            started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            logits = backbone(images)
        functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
    torch.cuda.synchronize()
    return (STEPS - WARM) * BATCH / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
