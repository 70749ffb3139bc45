"""Graft's own figures that no single command prints: jobs on a data set that is there, one prediction, starting up.

    python -m benchmarks.speed.graft job FOLDER            a run on an ingested data set, and the ceiling for it
    python -m benchmarks.speed.graft predict RUN FILES     single predictions, and batches of them
    python -m benchmarks.speed.graft start                 the app until it answers, a worker until its first event
    python -m benchmarks.speed.graft pages                 every page drawn again and again while a job trains

Each prints one line of JSON. The store is that of GRAFT_STORE.
"""

import argparse
import json
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.speed.measuring import ROOT
from tl_core.hardware import cores
from tl_core.models.graphs.export import ONNX_NAME, backbone_key
from tl_core.models.registry import network
from tl_core.runs.process.executor import cancel
from tl_core.runs.start import jobs
from tl_core.runs.start.jobs import wait
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import Store, Workspace

BACKBONE = "efficientnet_lite0"
SIZE = 224
BATCH = 8


def job(folder: Path) -> dict[str, Any]:
    """Reads the folder, then times the ceiling and the run: the same pictures, the same exported backbone."""
    workspace = _workspace()
    dataset = _read(workspace, folder)
    graph = _graph()
    images = dataset.manifest().images
    ceiling = _ceiling(graph, [dataset.path / "images" / image.file for image in images])
    submitted = time.time()
    run = jobs.submit_training(workspace, dataset, backbone=BACKBONE, strategy="feature_extraction")
    wait(run, None)
    events, _ = run.events(0)
    return {
        "images": len(images),
        "ceiling_seconds": ceiling,
        "job_seconds": run.status().seconds["total"],
        "first_event_seconds": events[0].time - submitted,
        "read_seconds": dataset.status().seconds["total"],
    }


def _ceiling(graph: Path, files: list[Path]) -> dict[str, float]:
    """Decoding on all cores, then one forward pass on all cores: what no program that looks at every picture gets below."""
    import onnxruntime
    from PIL import Image

    def read(file: Path) -> np.ndarray[Any, Any]:
        with Image.open(file) as image:
            image.draft("RGB", (SIZE, SIZE))
            return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC))

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    started = time.perf_counter()
    with ThreadPoolExecutor(cores()) as pool:
        pixels = np.stack(list(pool.map(read, files)))
    decoded = time.perf_counter()
    for start in range(0, len(pixels), BATCH):
        session.run(["embedding"], {"images": pixels[start : start + BATCH]})
    done = time.perf_counter()
    return {"decode": decoded - started, "forward": done - decoded, "total": done - started}


def predict(run: Path, files: list[Path]) -> dict[str, Any]:
    """A warm bundle: one picture at a time, and all of them in one call."""
    import tl_core

    model = tl_core.load(run)
    model.predict([files[0]])
    each = []
    for file in files:
        started = time.perf_counter()
        model.predict([file])
        each.append(time.perf_counter() - started)
    started = time.perf_counter()
    model.predict(files)
    together = time.perf_counter() - started
    p50, p95 = np.percentile(each, [50, 95]).tolist()
    return {"images": len(files), "p50": p50, "p95": p95, "together": together}


def start() -> dict[str, Any]:
    """Seconds until the app's first page can be asked for, and until a worker's first event; medians of three."""
    return {"app": median(_app() for _ in range(3)), "worker": median(_worker() for _ in range(3))}


def _app() -> float:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.perf_counter()
    app = subprocess.Popen(
        [sys.executable, "-m", "tl_core", "app", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1) as answer:
                    if answer.status == 200:
                        return time.perf_counter() - started
            except OSError:
                if time.perf_counter() - started > 60:
                    raise
                time.sleep(0.02)
    finally:
        app.terminate()
        app.wait(10)


def _worker() -> float:
    workspace = _workspace()
    submitted = time.time()
    dataset = jobs.submit_ingest(workspace, source_kind="sample", source="digits", name="digits")
    wait(dataset, None)
    events, _ = dataset.events(0)
    dataset.delete()
    return events[0].time - submitted


def pages() -> dict[str, Any]:
    """Seconds at the server for drawing each page again, 20 times, while a job trains the whole network."""
    from streamlit.testing.v1 import AppTest

    workspace = _workspace()
    dataset = jobs.submit_ingest(workspace, source_kind="sample", source="digits", name="digits")
    wait(dataset, None)
    finished = jobs.submit_training(workspace, dataset, backbone=BACKBONE, strategy="feature_extraction")
    wait(finished, None)
    training = jobs.submit_training(workspace, dataset, backbone=BACKBONE, strategy="full_fine_tuning", epochs=20)
    try:
        while not any(event.type == "progress" and event.stage == "training" for event in training.events(0)[0]):
            time.sleep(0.5)
        found = {}
        for page in ("streamlit_app.py", *sorted(f"pages/{path.name}" for path in (ROOT / "pages").glob("*.py"))):
            app = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=60)
            if page != "streamlit_app.py":
                app.switch_page(page)
            app.query_params["workspace"] = workspace.token
            app.query_params["run"] = finished.id
            app.run()
            seconds = []
            for _ in range(20):
                started = time.perf_counter()
                app.run()
                seconds.append(time.perf_counter() - started)
            found[Path(page).stem] = np.percentile(seconds, [50, 95]).tolist()
    finally:
        cancel(training)
    return {"pages": found}


def _workspace() -> Workspace:
    workspace = Store.default().command_line_workspace()
    workspace.make()
    return workspace


def _read(workspace: Workspace, folder: Path) -> DatasetFolder:
    dataset = jobs.submit_ingest(workspace, source_kind="folder", source=folder.absolute(), name=folder.name)
    wait(dataset, None)
    return dataset


def _graph() -> Path:
    found = Store.default().cache.get("backbones", backbone_key(network(BACKBONE), None, SIZE))
    if found is None:
        sys.exit("The backbone is not exported: python -m tl_core prepare")
    return found / ONNX_NAME


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("job").add_argument("folder", type=Path)
    predicting = commands.add_parser("predict")
    predicting.add_argument("run", type=Path)
    predicting.add_argument("files", type=Path, help="a text file, one picture a line")
    commands.add_parser("start")
    commands.add_parser("pages")
    options = parser.parse_args()
    if options.what == "job":
        found = job(options.folder)
    elif options.what == "predict":
        found = predict(options.run, [Path(line) for line in options.files.read_text().splitlines()])
    else:
        found = start() if options.what == "start" else pages()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
