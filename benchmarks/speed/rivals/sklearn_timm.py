"""What a data scientist writes in ten lines: timm's features in eager PyTorch, scikit-learn's logistic regression on them.

python -m benchmarks.speed.rivals.sklearn_timm SPLIT OUT
"""

import argparse
import os
import time
from pathlib import Path

import joblib
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from timm.data import create_transform
from torch.utils.data import DataLoader
from torchvision import datasets

from benchmarks.speed.rivals.lite0 import MEAN, SIZE, STD, lite0, tell


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("split", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    transform = create_transform(input_size=(3, SIZE, SIZE), mean=MEAN, std=STD, interpolation="bicubic")
    model = lite0(2).eval()
    found, started = {}, time.perf_counter()
    for part in ("train", "test"):
        pictures = datasets.ImageFolder(options.split / part, transform)
        loader = DataLoader(pictures, batch_size=32, num_workers=len(os.sched_getaffinity(0)))
        with torch.inference_mode():
            features = [model.forward_head(model.forward_features(images), pre_logits=True) for images, _ in loader]
        found[part] = torch.cat(features).numpy(), np.array(pictures.targets)
    seconds = time.perf_counter() - started
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=options.seed))
    head.fit(*found["train"])
    right = head.predict(found["test"][0]) == found["test"][1]
    torch.save(model.state_dict(), options.out)
    joblib.dump(head, options.out.with_suffix(".joblib"))
    images = sum(len(labels) for _, labels in found.values())
    tell(accuracy=float(right.mean()), images=len(right), epoch_seconds=[], features_per_second=images / seconds)


if __name__ == "__main__":
    main()
