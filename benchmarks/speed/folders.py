"""The pictures that are measured on: one split for everybody, and folders of any size made from few pictures."""

import os
import shutil
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image

SHARES = (("train", 0.7), ("val", 0.15), ("test", 0.15))
EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


def split_folder(source: Path, into: Path, seed: int) -> Path:
    """`into`/train, val and test with one folder a class, of hard links to the pictures of `source`; 70, 15 and 15 in a hundred.

    A folder that has its own split keeps it.
    """
    if (into / "whole").is_file():
        return into
    shutil.rmtree(into, ignore_errors=True)
    if all((source / part).is_dir() for part, _ in SHARES):
        chosen = {part: _by_class(source / part) for part, _ in SHARES}
    else:
        chosen = {part: {} for part, _ in SHARES}
        for name, files in _by_class(source).items():
            order = np.random.default_rng([seed, len(files)]).permutation(len(files))
            start = 0
            for part, share in SHARES:
                end = len(files) if part == "test" else start + round(share * len(files))
                chosen[part][name] = [files[row] for row in order[start:end]]
                start = end
    for part, classes in chosen.items():
        for name, files in classes.items():
            folder = into / part / name
            folder.mkdir(parents=True)
            for file in files:
                _link(file, folder / file.name)
    (into / "whole").touch()
    return into


def scaled_folder(source: Path, into: Path, images: int) -> Path:
    """A folder of `images` different pictures in as many classes as `source` has: its pictures, each moved by some pixels.

    Every file has its own content, size and place, as photos do; none is a copy of another.
    """
    if (into / "whole").is_file():
        return into
    shutil.rmtree(into, ignore_errors=True)
    classes = _by_class(source / "train" if (source / "train").is_dir() else source)
    names = sorted(classes)
    for number in range(images):
        name = names[number % len(names)]
        files = classes[name]
        use, place = divmod(number // len(names), len(files))
        file = files[place]
        folder = into / name
        folder.mkdir(parents=True, exist_ok=True)
        with Image.open(file) as opened:
            # Another corner and another quality at each use of the same picture: 640 uses are all different.
            left, top, quality = use % 8, use // 8 % 8, 85 + use // 64 % 10
            shifted = opened.convert("RGB").crop((left, top, opened.width, opened.height))
            shifted.save(folder / f"{number:06}.jpg", quality=quality)
    (into / "whole").touch()
    return into


def many(folder: Path, count: int) -> list[Path]:
    """The first `count` pictures below `folder`, class by class in turn."""
    turns = zip_longest(*_by_class(folder).values())
    return [path for turn in turns for path in turn if path is not None][:count]


def _by_class(folder: Path) -> dict[str, list[Path]]:
    return {
        inner.name: sorted(path for path in inner.rglob("*") if path.suffix.lower() in EXTENSIONS)
        for inner in sorted(folder.iterdir())
        if inner.is_dir()
    }


def _link(file: Path, new: Path) -> None:
    try:
        os.link(file, new)
    except OSError:
        shutil.copyfile(file, new)
