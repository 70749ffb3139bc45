"""Trains with the defaults on folders and samples, one process after another, and prints accuracy, seconds and memory.

    python benchmarks/first_light.py FOLDER... sample:digits --seeds 5

Every run gets a store of its own, so nothing is reused: seconds are those of the whole command, backbone export
included, and memory is the largest resident size (ru_maxrss) of any one process in it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median

_MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def train(data: str, seed: int, extra: list[str]) -> tuple[dict[str, object], float, float]:
    """One `train` in a fresh store: what it printed, wall seconds, megabytes of the largest process."""
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "tl_core", "train", data, "--seed", str(seed), "--json", *extra]
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, *command],
            capture_output=True,
            text=True,
            env={**os.environ, "GRAFT_STORE": store},
            check=False,
        )
        seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"train {data} --seed {seed} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    kilobytes = int(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout), seconds, kilobytes / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="folders, zips or sample:NAME")
    parser.add_argument("--seeds", type=int, default=5)
    options, extra = parser.parse_known_args()
    print("| data | test images | accuracy, mean (each) | seconds, median (min to max) | memory MB, max |")
    print("| --- | --- | --- | --- | --- |")
    for data in options.data:
        runs = [train(data, seed, extra) for seed in range(options.seeds)]
        accuracies = [float(str(result["test_accuracy"])) for result, _, _ in runs]
        seconds = [taken for _, taken, _ in runs]
        each = ", ".join(f"{accuracy:.3f}" for accuracy in accuracies)
        name = data if data.startswith("sample:") else Path(data).name
        print(
            f"| {name} | {runs[0][0]['test_images']} | {mean(accuracies):.3f} ({each}) "
            f"| {median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f}) "
            f"| {max(memory for _, _, memory in runs):.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
