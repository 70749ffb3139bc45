"""Prediction as it is mostly written: the model in eager PyTorch, one file after another.

python -m benchmarks.speed.rivals.eager_predict WEIGHTS CLASSES FILES
"""

import argparse
import time
from pathlib import Path

import torch
from PIL import Image
from torchvision import transforms

from benchmarks.speed.rivals.lite0 import MEAN, SIZE, STD, lite0, tell


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path, help="a state dict that the tutorial's loop saved")
    parser.add_argument("classes", type=int)
    parser.add_argument("files", type=Path, help="a text file, one picture a line")
    options = parser.parse_args()
    model = lite0(options.classes).eval()
    model.load_state_dict(torch.load(options.weights, weights_only=True))
    plain = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(SIZE), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )
    seconds = []
    with torch.inference_mode():
        for line in options.files.read_text().splitlines():
            started = time.perf_counter()
            picture = plain(Image.open(line).convert("RGB"))
            torch.softmax(model(picture[None]), dim=1)[0].max(dim=0)
            seconds.append(time.perf_counter() - started)
    tell(images=len(seconds), each=seconds)


if __name__ == "__main__":
    main()
