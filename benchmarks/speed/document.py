"""What was measured as sections of docs/benchmarks.md, with a plot each."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.sections import put as put_section
from benchmarks.speed import plots
from benchmarks.speed.measuring import ROOT, Measured
from benchmarks.speed.race import COLD, FASTAI, HEAD, LP_FT, PARTIAL, SKLEARN, TUTORIAL, TUTORIAL_WHOLE, WHOLE, Result
from tl_core.evaluation.intervals import wilson_interval

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
        "| | right on test pictures | seconds, folder to saved model | an epoch, s | images a second | memory MB | seeds |",
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
        logarithmic=True,
    )
    said = (
        "All entrants ran one after another, with the same split and the same weights of EfficientNet-Lite0. Figures are medians, "
        "with the smallest and the largest. Memory is that of all processes of a command at one time, without mapped and shared "
        "files. The interval is the 95 % Wilson interval for the test pictures of one run."
    )
    return "\n".join([said, "", *lines, "", _picture(plot)])


def job(title: str, found: Measured) -> str:
    said = found.said
    ceiling, run = said["ceiling_seconds"], said["job_seconds"]
    plot = plots.bars(
        PLOTS / f"job-{safe(title)}.svg",
        ["decoding alone", "one forward pass alone", "Graft, the run"],
        [ceiling["decode"], ceiling["forward"], run],
        title=f"{said['images']:,} pictures: {run / ceiling['total']:.2f} times the ceiling",
        unit="seconds",
        wanted=round(1.3 * ceiling["total"], 1),
    )
    text = (
        f"The data set of {said['images']:,} pictures was read before, and the backbone was exported. The ceiling is what "
        f"decoding ({ceiling['decode']:.1f} s) and one forward pass in ONNX Runtime ({ceiling['forward']:.1f} s) take on all "
        f"cores, {ceiling['total']:.1f} s. The run took {run:.1f} s, {run / ceiling['total']:.2f} times as long (wanted: 1.3). "
        f"Reading the folder into the data set takes {said['read_seconds']:.1f} s more; with it, the run takes "
        f"{(run + said['read_seconds']) / ceiling['total']:.2f} times as long. The first event comes "
        f"{said['first_event_seconds']:.2f} s after Start (wanted: 1)."
    )
    return "\n".join([text, "", _picture(plot)])


def again(title: str, once: Measured, runs: Sequence[Measured]) -> str:
    jobs = [run.said["job_seconds"] for run in runs]
    reading = [run.said["seconds"]["ingest"] for run in runs]
    plot = plots.bars(
        PLOTS / f"again-{safe(title)}.svg",
        ["Graft, first run", *(f"Graft, again, seed {seed}" for seed in range(1, len(runs) + 1))],
        [once.seconds, *(run.seconds for run in runs)],
        title=f"Another seed, whole command: {median(run.seconds for run in runs):.1f} s",
        unit="seconds",
        wanted=2.5,
    )
    text = (
        f"The first run on the folder took {once.seconds:.1f} s. With another seed and in the same store, the whole command took "
        f"{_spread([run.seconds for run in runs])} s (wanted: 2.5), of which reading took {median(reading):.2f} s and the job "
        f"{median(jobs):.2f} s (wanted: 1)."
    )
    return "\n".join([text, "", _picture(plot)])


def predict(title: str, slow: Measured, quick: Measured, warm: Measured) -> str:
    said = warm.said
    count, one = said["images"], median(slow.said["each"]) * 1000
    plot = plots.bars(
        PLOTS / f"predict-{safe(title)}.svg",
        [
            "eager PyTorch, one picture",
            "Graft, one picture",
            "Graft, 95th percentile",
            f"Graft, each of {count} in one call",
        ],
        [one, said["p50"] * 1000, said["p95"] * 1000, said["together"] / count * 1000],
        title=f"A prediction, model loaded: {said['p50'] * 1000:.1f} ms from file to answer",
        unit="milliseconds",
    )
    text = (
        f"For {count} pictures from files, the whole command takes {slow.seconds:.1f} s with eager PyTorch, one picture after "
        f"another, and {quick.seconds:.1f} s with Graft, which is {slow.seconds / quick.seconds:.1f} times faster (wanted: 3). "
        f"With a bundle that is already open, one picture takes {said['p50'] * 1000:.1f} ms (median; 95th percentile "
        f"{said['p95'] * 1000:.1f} ms), against {one:.0f} ms in PyTorch. All pictures in one call are answered at "
        f"{count / said['together']:.0f} pictures a second."
    )
    return "\n".join([text, "", _picture(plot)])


def start(title: str, found: Measured) -> str:
    app, worker = found.said["app"], found.said["worker"]
    plot = plots.bars(
        PLOTS / f"start-{safe(title)}.svg",
        ["Graft, the app answers", "Graft, a worker's first event"],
        [app, worker],
        title=f"From Start to the first event: {worker:.2f} s",
        unit="seconds",
        wanted=1.0,
        digits=2,
    )
    text = (
        f"The app answers {app:.1f} s after its command, and a worker writes its first event {worker:.2f} s after Start "
        "(medians of three)."
    )
    return "\n".join([text, "", _picture(plot)])


def pages(title: str, found: Measured) -> str:
    rows = found.said["pages"]
    lines = ["| page | median, ms | 95th percentile, ms |", "| --- | --- | --- |"]
    lines += [f"| {name} | {p50 * 1000:.0f} | {p95 * 1000:.0f} |" for name, (p50, p95) in rows.items()]
    plot = plots.bars(
        PLOTS / f"pages-{safe(title)}.svg",
        [f"Graft, {name}" for name in rows],
        [p95 * 1000 for _, p95 in rows.values()],
        title="A page drawn again while a job trains, 95th percentile",
        unit="milliseconds",
        wanted=100.0,
        digits=0,
    )
    said = "Each page was drawn again 20 times at the server while a whole network trained on all cores (wanted: 100 ms for the 95th percentile)."
    return "\n".join([said, "", *lines, "", _picture(plot)])


def scaling(title: str, runs: Sequence[tuple[int, Measured]]) -> str:
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
        [
            "Feature extraction from a folder. The store was empty except for the exported backbone.",
            "",
            *lines,
            "",
            _picture(plot),
        ]
    )


def gpu(found: Measured) -> str:
    if "skipped" in found.said:
        return str(found.said["skipped"])
    lines = ["| network | images a second | on a constant tensor | of the ceiling |", "| --- | --- | --- | --- |"]
    for name, rates in found.said["networks"].items():
        lines.append(
            f"| {name} | {rates['real']:.0f} | {rates['constant']:.0f} | {rates['real'] / rates['constant']:.0%} |"
        )
    return "\n".join([f"Full fine-tuning at 224 px on {found.said['device']} with real pictures.", "", *lines])


def safe(title: str) -> str:
    """`title` with a hyphen for whatever cannot stand in a file's name."""
    return "".join(letter if letter.isalnum() else "-" for letter in title)


def _epochs(by: dict[str, Result], title: str) -> float:
    return (by[TUTORIAL_WHOLE].epoch or 0.0) / (by[title].epoch or 1.0)


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.1f}" + (f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else "")


def _picture(path: Path) -> str:
    return f"![{path.stem}]({path.relative_to(DOCUMENT.parent)})"
