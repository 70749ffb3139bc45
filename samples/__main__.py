"""Renders every picture that is not there yet."""

import argparse
import multiprocessing
import sys
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from samples import rendering
from samples.still_life import EACH, KINDS, describe

FOLDER = Path(__file__).parent.parent / "tl_core" / "data" / "tableware"
SIDE = 256
QUALITY = 82


def picture(kind: str, number: int, *, into: Path = FOLDER) -> Path:
    """Where the picture of this kind and number lies."""
    return into / kind.replace(" ", "_") / f"{number:03}.jpg"


def _render(job: tuple[str, int, Path, int, int]) -> Path:
    kind, number, path, rendered, samples = job
    rendering.choose_variant()
    image = rendering.render(describe(kind, number), side=SIDE, rendered=rendered, samples=samples, seed=number)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    image.save(unfinished, "JPEG", quality=QUALITY, optimize=True, progressive=True)
    unfinished.replace(path)
    return path


def main() -> None:
    """Render what is missing, each picture in a process of its own, with a bar."""
    parser = argparse.ArgumentParser(prog="python -m samples", description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the pictures; those that are there stay")
    parser.add_argument("--each", type=int, default=EACH, help="pictures of each kind")
    parser.add_argument("--rendered", type=int, default=256, help="pixels across before the picture is brought to 256")
    parser.add_argument("--samples", type=int, default=14, help="paths of light for each of these pixels")
    parser.add_argument("--processes", type=int, default=2, help="pictures that are rendered at the same time")
    given = parser.parse_args()
    wanted = [(kind, number, picture(kind, number, into=given.out)) for number in range(given.each) for kind in KINDS]
    missing = [(*job, given.rendered, given.samples) for job in wanted if not job[2].exists()]
    columns = (
        TextColumn("Rendering tableware"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        task = bar.add_task("", total=len(wanted), completed=len(wanted) - len(missing))
        # A process for each picture: its scene is then the first that is loaded, and the code compiled for the first picture fits.
        with multiprocessing.get_context("fork").Pool(given.processes, maxtasksperchild=1) as pool:
            for _ in pool.imap_unordered(_render, missing, chunksize=1):
                bar.advance(task)
    size = sum(path.stat().st_size for _, _, path in wanted)
    sys.stdout.write(f"{len(wanted)} pictures, {size / 1e6:.2f} MB, in {given.out}\n")


if __name__ == "__main__":
    main()
