"""How fast Graft is, beside what a user would pick instead, in one run: docs/benchmarks.md and its plots.

    python -m benchmarks.speed FOLDER --title "TrashNet (garythung), 600 of 2,527" --seeds 3

Everything is a command of its own, one after another, so nothing else should run on the machine. What was measured is kept in
KEEP and not measured again; delete that folder to begin anew. `--only` takes parts by name: race, job, again, predict,
start, pages, scaling, gpu. fastai comes with requirements-bench.txt.
"""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_path

from benchmarks.speed import document
from benchmarks.speed.folders import many, scaled_folder, split_folder
from benchmarks.speed.measuring import PYTHON, Kept, measure
from benchmarks.speed.race import race
from tl_core.runs.store.folders import RunFolder

SCALES = (250, 1000, 4000, 16000)
JOB_IMAGES = 2000
PREDICTED = 200


class Course:
    """The measurements on one folder."""

    def __init__(self, folder: Path, title: str, seeds: int, keep: Path) -> None:
        self.folder, self.title, self.keep = folder, title, keep
        self.kept = Kept(keep / "measured.json")
        self.splits = [
            split_folder(folder, keep / "splits" / document.safe(title) / str(seed), seed) for seed in range(seeds)
        ]
        self.prepared = keep / "prepared"
        self.workplace = keep / "workplace"
        if not any((self.prepared / "cache" / "backbones").glob("[!.]*")):
            measure([PYTHON, "-m", "tl_core", "prepare"], env={"GRAFT_STORE": str(self.prepared)})

    def race(self) -> None:
        results = list(race(self.splits, self.kept, prepared=self.prepared, workplace=self.workplace, title=self.title))
        document.put(self.title, "race", document.race(self.title, results))

    def job(self) -> None:
        folder = scaled_folder(
            self.splits[0], self.keep / "scaled" / f"{document.safe(self.title)}-{JOB_IMAGES}", JOB_IMAGES
        )
        command = [PYTHON, "-m", "benchmarks.speed.graft", "job", str(folder)]
        found = self.kept.of(f"{self.title}: job", command, env=self._store(prepared=True))
        document.put(self.title, "job", document.job(self.title, found))

    def again(self) -> None:
        """A second run with another seed, in the store of the first."""
        first = f"{self.title}: again, the first run"
        names = [f"{self.title}: again, seed {seed}" for seed in (1, 2, 3)]
        if not self.kept.has(first, *names):
            env = self._store(prepared=True)
            command = [PYTHON, "-m", "tl_core", "train", str(self.folder), "--json", "--seed"]
            self.kept.put(first, measure([*command, "0"], env=env))
            for seed, name in enumerate(names, start=1):
                found = measure([*command, str(seed)], env=env)
                found.said["job_seconds"] = RunFolder(Path(found.said["run_dir"])).status().seconds["total"]
                self.kept.put(name, found)
        document.put(
            self.title,
            "again",
            document.again(self.title, self.kept.read(first), [self.kept.read(name) for name in names]),
        )

    def predict(self) -> None:
        env, out = self._store(prepared=True), self.workplace / "run"
        classes = len([path for path in (self.splits[0] / "test").iterdir() if path.is_dir()])
        files = self.workplace / "files.txt"
        pictures = many(self.splits[0] / "train", PREDICTED)
        files.write_text("\n".join(map(str, pictures)))
        names = [f"{self.title}: {what}" for what in ("predict, eager", "predict, command", "predict, warm")]
        if not self.kept.has(*names):
            weights = self.workplace / "tutorial.pt"
            tutorial = [PYTHON, "-m", "benchmarks.speed.rivals.tutorial", str(self.splits[0]), str(weights)]
            measure([*tutorial, "--epochs", "1"])
            measure([PYTHON, "-m", "tl_core", "train", str(self.splits[0]), "--out", str(out), "--json"], env=env)
            eager = [PYTHON, "-m", "benchmarks.speed.rivals.eager_predict", str(weights), str(classes), str(files)]
            self.kept.of(names[0], eager)
            self.kept.of(names[1], [PYTHON, "-m", "tl_core", "predict", str(out), *map(str, pictures)], env=env)
            self.kept.of(names[2], [PYTHON, "-m", "benchmarks.speed.graft", "predict", str(out), str(files)], env=env)
        document.put(self.title, "predict", document.predict(self.title, *(self.kept.read(name) for name in names)))

    def start(self) -> None:
        command = [PYTHON, "-m", "benchmarks.speed.graft", "start"]
        found = self.kept.of("start", command, env=self._store(prepared=True))
        document.put(self.title, "start", document.start(self.title, found))

    def pages(self) -> None:
        command = [PYTHON, "-m", "benchmarks.speed.graft", "pages"]
        found = self.kept.of("pages", command, env=self._store(prepared=True))
        document.put(self.title, "pages", document.pages(self.title, found))

    def scaling(self) -> None:
        found = []
        for images in SCALES:
            folder = scaled_folder(
                self.splits[0], self.keep / "scaled" / f"{document.safe(self.title)}-{images}", images
            )
            command = [PYTHON, "-m", "tl_core", "train", str(folder), "--json"]
            name = f"{self.title}: scaling, {images}"
            if not self.kept.has(name):
                self.kept.of(name, command, env=self._store(prepared=True))
            found.append((images, self.kept.read(name)))
        document.put(self.title, "scaling", document.scaling(self.title, found))

    def gpu(self) -> None:
        found = self.kept.of("gpu", [PYTHON, "-m", "benchmarks.speed.gpu", str(self.splits[0] / "train")])
        document.put(self.title, "gpu", document.gpu(found))

    def _store(self, *, prepared: bool) -> dict[str, str]:
        """An empty store or, where asked for, one as `make app` leaves it."""
        shutil.rmtree(self.workplace, ignore_errors=True)
        store = self.workplace / "store"
        if prepared:
            shutil.copytree(self.prepared, store)
        else:
            store.mkdir(parents=True)
        return {"GRAFT_STORE": str(store)}


PARTS: dict[str, Callable[[Course], None]] = {
    "race": Course.race,
    "job": Course.job,
    "again": Course.again,
    "predict": Course.predict,
    "start": Course.start,
    "pages": Course.pages,
    "scaling": Course.scaling,
    "gpu": Course.gpu,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--title", required=True, help="the set's name and source, for the document")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--keep", type=Path, default=user_cache_path("graft") / "speed")
    options = parser.parse_args()
    course = Course(options.folder.absolute(), options.title, options.seeds, options.keep.absolute())
    for name in options.only:
        PARTS[name](course)


if __name__ == "__main__":
    main()
