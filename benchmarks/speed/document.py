"""What was measured as sections of docs/benchmarks.md, with a plot each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.sections import put as put_section
from benchmarks.speed import plots
from benchmarks.speed.measuring import ROOT, Measured
from benchmarks.speed.race import COLD, FASTAI, HEAD, LP_FT, PARTIAL, SKLEARN, TUTORIAL, TUTORIAL_WHOLE, WHOLE, Result
from tl_core.evaluation.metrics import wilson_interval

DOCUMENT = ROOT / "docs" / "benchmarks.md"
PLOTS = ROOT / "docs" / "plots"
HEADINGS = {
    "race": "Beside what a user would pick instead",
    "job": "Against the ceiling",
    "again": "The second run",
    "predict": "Prediction",
    "start": "Starting up",
    "pages": "Pages while a job trains",
    "scaling": "From hundreds to many thousands of pictures",
    "gpu": "On a GPU",
}


def put(title: str, part: str, text: str) -> None:
    put_section(DOCUMENT, f"{HEADINGS[part]}: {title}", text, head="# Measured\n")


def race(title: str, results: Sequence[Result]) -> str:
    by = {result.entrant.title: result for result in results}
    lines = [
        "| | right on held-out | seconds, folder to saved model | an epoch, s | images a second | memory MB | seeds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        low, high = wilson_interval(round(result.accuracy * result.images), result.images)
        epoch = f"{result.epoch:.1f}" if result.epoch else ""
        lines.append(
            f"| {result.entrant.title} | {result.accuracy:.3f} ({low:.3f} to {high:.3f}) | {_spread(result.seconds)} "
            f"| {epoch} | {median(result.rates):.0f} | {result.peak_mb:.0f} | {len(result.seconds)} |"
        )
    ratios = [
        ("feature extraction, whole command, against the tutorial loop", by[TUTORIAL].time / by[HEAD].time, 15.0),
        ("the same with the backbone's export", by[TUTORIAL].time / by[COLD].time, None),
        ("feature extraction against fastai", by[FASTAI].time / by[HEAD].time, 12.0),
        ("feature extraction against scikit-learn on timm features", by[SKLEARN].time / by[HEAD].time, None),
        ("an epoch of partial fine-tuning against the tutorial's whole network", _epochs(by, PARTIAL), 6.0),
        ("an epoch of full fine-tuning against the same", _epochs(by, WHOLE), 1.4),
        ("an epoch of lp_ft against the same", _epochs(by, LP_FT), None),
    ]
    lines += ["", "| ratio of medians | times faster | wanted |", "| --- | --- | --- |"]
    lines += [f"| {what} | {ratio:.1f} | {wanted or ''} |" for what, ratio, wanted in ratios]
    plot = plots.bars(
        PLOTS / f"race-{safe(title)}.svg",
        [result.entrant.title for result in results],
        [result.time for result in results],
        title=f"Folder to saved model: {by[HEAD].time:.0f} s, fastai {by[FASTAI].time:.0f} s",
        unit="seconds",
    )
    said = (
        "One process after another, the same split and the same Lite0 weights for all; medians with least and most. Memory is of "
        "all processes of a command at one time, mapped and shared files not counted. The interval is that of one run's held-out pictures (95 %, Wilson)."
    )
    return "\n".join([said, "", *lines, "", _picture(plot)])


def job(found: Measured) -> str:
    said = found.said
    ceiling, run = said["ceiling_seconds"], said["job_seconds"]
    return "\n".join(
        [
            f"{said['images']:,} pictures of an ingested data set, backbone exported. The ceiling is decoding on all cores and one "
            f"forward pass in ONNX Runtime on all cores: {ceiling['total']:.1f} s ({ceiling['decode']:.1f} and "
            f"{ceiling['forward']:.1f}). The run took {run:.1f} s, {run / ceiling['total']:.2f} times as long (1.3 wanted). Reading "
            f"the folder into the data set took {said['read_seconds']:.1f} s more. From Start to the first event: "
            f"{said['first_event_seconds']:.2f} s (1 wanted)."
        ]
    )


def again(found: Sequence[dict[str, Any] | None]) -> str:
    runs = [Measured(**one) for one in found if one]
    jobs = [run.said["job_seconds"] for run in runs]
    reading = [run.said["seconds"]["ingest"] for run in runs]
    return (
        f"The same folder with another seed, in the store of the first run: {_spread([run.seconds for run in runs])} s the "
        f"whole command (2.5 wanted), of which reading took {median(reading):.2f} and the job {median(jobs):.2f} s (1 wanted)."
    )


def predict(eager: dict[str, Any] | None, command: dict[str, Any] | None, warm: dict[str, Any] | None) -> str:
    slow, quick = Measured(**(eager or {})), Measured(**(command or {}))
    said = (warm or {})["said"]
    count = said["images"]
    return "\n".join(
        [
            f"{count} pictures from files, whole commands: eager PyTorch one by one {slow.seconds:.1f} s, Graft "
            f"{quick.seconds:.1f} s, {slow.seconds / quick.seconds:.1f} times faster (3 wanted). With a warm bundle one picture "
            f"takes {said['p50'] * 1000:.1f} ms (median; 95th percentile {said['p95'] * 1000:.1f} ms) against "
            f"{median(slow.said['each']) * 1000:.0f} ms, and all of them in one call {count / said['together']:.0f} pictures "
            "a second."
        ]
    )


def start(found: Measured) -> str:
    return (
        f"The app answers {found.said['app']:.1f} s after its command, and a worker gives its first event "
        f"{found.said['worker']:.2f} s after Start (medians of three)."
    )


def pages(found: Measured) -> str:
    lines = ["| page | median, ms | 95th percentile, ms |", "| --- | --- | --- |"]
    lines += [f"| {name} | {p50 * 1000:.0f} | {p95 * 1000:.0f} |" for name, (p50, p95) in found.said["pages"].items()]
    said = "Each page drawn again 20 times at the server while a whole network trains on all cores (100 ms wanted, 95th percentile)."
    return "\n".join([said, "", *lines])


def scaling(title: str, found: Sequence[tuple[int, dict[str, Any] | None]]) -> str:
    runs = [(images, Measured(**one)) for images, one in found if one]
    lines = ["| pictures | seconds | a picture, ms | memory MB |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {images:,} | {run.seconds:.1f} | {run.seconds / images * 1000:.1f} | {run.peak_mb:.0f} |"
        for images, run in runs
    ]
    plot = plots.lines(
        PLOTS / f"scaling-{safe(title)}.svg",
        [images for images, _ in runs],
        {"seconds": [run.seconds for _, run in runs], "memory, MB": [run.peak_mb for _, run in runs]},
        title=f"{runs[-1][0]:,} pictures take {runs[-1][1].peak_mb:.0f} MB",
    )
    return "\n".join(
        ["Feature extraction from a folder, store empty but for the exported backbone.", "", *lines, "", _picture(plot)]
    )


def gpu(found: Measured) -> str:
    if "skipped" in found.said:
        return str(found.said["skipped"])
    lines = ["| network | images a second | on a constant tensor | of the ceiling |", "| --- | --- | --- | --- |"]
    for name, row in found.said["networks"].items():
        lines.append(f"| {name} | {row['real']:.0f} | {row['constant']:.0f} | {row['real'] / row['constant']:.0%} |")
    return "\n".join([f"Full fine-tuning at 224 px on {found.said['device']}, real pictures.", "", *lines])


def safe(title: str) -> str:
    """For a file's name."""
    return "".join(letter if letter.isalnum() else "-" for letter in title)


def _epochs(by: dict[str, Result], title: str) -> float:
    return (by[TUTORIAL_WHOLE].epoch or 0.0) / (by[title].epoch or 1.0)


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.1f}" + (f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else "")


def _picture(path: Path) -> str:
    return f"![{path.stem}]({path.relative_to(DOCUMENT.parent)})"
