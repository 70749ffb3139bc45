"""Measures what a heat over a picture takes beyond the network's own forward pass, in the process of the app.

    python benchmarks/heat.py RUN IMAGE

RUN is a run whose bundle's logits are linear in its map. Printed is processor time, of one thread with OMP_NUM_THREADS=1, so that other
programs on the machine matter little: the least and the median of 15 times.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tl_core.data.pixels import decode  # noqa: E402
from tl_core.serving import heatmaps  # noqa: E402
from tl_core.serving.onnx_graph import OnnxSession  # noqa: E402
from tl_core.serving.predictor import Predictor  # noqa: E402

SIDE = 720
"""Longest side of the picture under the heat, as on the pages, pixels."""


def milliseconds(work: Callable[[], object]) -> str:
    taken = []
    for _ in range(15):
        start = time.process_time()
        work()
        taken.append(1000 * (time.process_time() - start))
    return f"{min(taken):.1f} ms, median {median(taken):.1f} ms"


def main(run: Path, image: Path) -> None:
    model = Predictor(run)
    pixels, picture = model.pixels(image)[None], decode(image)
    picture = picture.resize(
        (round(picture.width * SIDE / max(picture.size)), round(picture.height * SIDE / max(picture.size)))
    )
    session = OnnxSession(model.bundle.onnx)
    spatial = session.run(["map"], pixels, last=True)[0][0]

    def drawn() -> None:
        evidence = heatmaps.evidence(spatial, heatmaps.class_weights(model.bundle))
        heatmaps.overlay(picture, heatmaps.heat(evidence[0], *picture.size))

    print(f"forward pass: {milliseconds(lambda: session.run(['map'], pixels, last=True))}")
    print(f"all beyond it: {milliseconds(drawn)}, over {picture.width} x {picture.height} pixels")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
