"""The loop of most courses: ImageFolder, Pillow transforms, a data loader, SGD, the best state by validation kept.

python -m benchmarks.speed.rivals.tutorial SPLIT OUT --epochs 10 [--whole]
"""

import argparse
import copy
import os
import time
from pathlib import Path

import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.speed.rivals.lite0 import MEAN, SIZE, STD, lite0, tell


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("split", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--whole", action="store_true", help="train the whole network, not the last layer alone")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    normalise = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    changed = transforms.Compose([transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip(), *normalise])
    plain = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(SIZE), *normalise])
    sets = {
        part: datasets.ImageFolder(options.split / part, changed if part == "train" else plain)
        for part in ("train", "val", "test")
    }
    workers = len(os.sched_getaffinity(0))
    loaders = {
        part: DataLoader(found, batch_size=options.batch, shuffle=part == "train", num_workers=workers)
        for part, found in sets.items()
    }
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = lite0(len(sets["train"].classes)).to(device)
    if not options.whole:
        for name, parameter in model.named_parameters():
            parameter.requires_grad = name.startswith("classifier")
    criterion = nn.CrossEntropyLoss()
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=1e-3, momentum=0.9)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    best, best_accuracy, seconds = copy.deepcopy(model.state_dict()), 0.0, []
    for _ in range(options.epochs):
        started = time.perf_counter()
        model.train()
        for images, labels in loaders["train"]:
            optimizer.zero_grad()
            loss = criterion(model(images.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
        scheduler.step()
        accuracy = _accuracy(model, loaders["val"], device)
        if accuracy > best_accuracy:
            best, best_accuracy = copy.deepcopy(model.state_dict()), accuracy
        seconds.append(time.perf_counter() - started)
    model.load_state_dict(best)
    accuracy = _accuracy(model, loaders["test"], device)
    torch.save(model.state_dict(), options.out)
    tell(
        accuracy=accuracy,
        images=len(sets["test"]),
        learned_from=len(sets["train"]),
        epoch_seconds=seconds,
    )


@torch.no_grad()
def _accuracy(model: nn.Module, loader: DataLoader[object], device: torch.device) -> float:
    model.eval()
    right = total = 0
    for images, labels in loader:
        right += int((model(images.to(device)).argmax(dim=1).cpu() == labels).sum())
        total += len(labels)
    return right / total


if __name__ == "__main__":
    main()
