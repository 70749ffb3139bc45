"""Hostile files and archives among healthy pictures, read by real jobs and shown to a classifier by the command line.

Nothing may be written outside of the job's folder, nothing end in a traceback, no process exceed its limit, and the healthy pictures
must be taken.
"""

import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests import hostile
from tests.soak import costs
from tests.soak.ground import CLASSES, Ground, Outcome, Part, Watch, answer, ended, write_pictures
from tests.soak.mutator import ARCHIVES, ESCAPED, MUTATIONS, zipped
from tl_core.data.formats import READ
from tl_core.disk import remove
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import RunFolder

FILES = 1_000
A_BATCH = 20
"""Hostile pictures that are read together."""
_HEALTHY = 3
"""Healthy pictures of each class beside them."""
_ARCHIVES = 0.2
"""Share of archives among the hostile files."""


def run(ground: Ground, count: int = FILES) -> Part:
    """`count` hostile files; the constructed ones come first."""
    outcome = Outcome()
    data = ground.read()
    outcome.violations += filter(None, [ended(data)])
    judge = ground.train(data)
    outcome.violations += filter(None, [ended(judge)])
    canary = _tree(ground.root / "canary")
    kinds: Counter[str] = Counter()
    archives = round(count * _ARCHIVES)
    with Watch() as watch:
        for number, names in enumerate(_batches(ground, count - archives)):
            yield from _pictures(ground, judge, number, names, outcome, kinds)
        makers = _archive_makers(ground)
        for number in range(archives):
            name, make = makers(number)
            yield from _archive(ground, number, name, make(), outcome, kinds)
    if _tree(ground.root / "canary") != canary:
        outcome.violations.append("the files beside the store were changed")
    outcome.violations += watch.problems()
    # Each kind that is constructed takes six files, which are not among those above.
    kinds_measured = list(hostile.HOSTILE)[: max(1, count // 20)]
    for kind in kinds_measured:
        outcome.violations += costs.problems(kind)
        yield f"six of {kind} beside sixteen good ones"
    outcome.figures |= {"files": count - archives, "archives": archives, "kinds measured": len(kinds_measured), **kinds}
    outcome.figures["largest process, MB"] = watch.most_mb
    return outcome


def _batches(ground: Ground, count: int) -> list[list[tuple[str, str, Callable[[], bytes]]]]:
    """For each file: its name, what was done to it, and what makes it. Files that are constructed come once, each of them."""
    made: list[tuple[str, str, Callable[[], bytes]]] = []
    constructed = list(hostile.HOSTILE.items())[: max(1, count // 2)]
    for name, row in constructed:
        made.append((_suffix(row.format), name, lambda row=row: row.make(ground.random)))
    methods = list(MUTATIONS.items())
    for number in range(count - len(made)):
        format = hostile.FORMATS[number % len(hostile.FORMATS)]
        other = hostile.FORMATS[(number + 1 + number // 8) % len(hostile.FORMATS)]
        name, method = methods[number // len(hostile.FORMATS) % len(methods)]

        def broken(format: str = format, other: str = other, method=method) -> bytes:  # type: ignore[no-untyped-def]
            healthy = hostile.real(format, ground.random), hostile.real(other, ground.random)
            return method(*healthy, ground.random) or b"\0"

        made.append((_suffix(format), f"{format}, {name}", broken))
    ground.random.shuffle(made)
    return [made[start : start + A_BATCH] for start in range(0, len(made), A_BATCH)]


def _suffix(format: str) -> str:
    return next(row.extensions[0] for row in READ if format in row.pillow)


def _pictures(
    ground: Ground,
    judge: RunFolder,
    number: int,
    names: list[tuple[str, str, Callable[[], bytes]]],
    outcome: Outcome,
    kinds: Counter[str],
) -> Part:
    """Hostile pictures beside healthy ones, as a folder or a zip: read as a data set, then shown to the classifier."""
    folder = ground.root / "batch"
    write_pictures(folder, each=_HEALTHY, first=1_000 + number * _HEALTHY)
    healthy = {str(path.relative_to(folder)) for path in folder.rglob("*.jpg")}
    what = {}
    for index, (suffix, done, make) in enumerate(names):
        file = folder / ground.random.choice(CLASSES) / f"hostile-{index}{suffix}"
        file.write_bytes(make())
        what[str(file.relative_to(folder))] = done
    started = time.monotonic()
    if number % 2:
        source = ground.root / "batch.zip"
        source.write_bytes(zipped({name: (folder / name).read_bytes() for name in (*healthy, *what)}, method=0))
        job = jobs.submit_ingest(ground.workspace, source_kind="zip", source=source, name=f"Batch {number}")
    else:
        job = ground.read(folder, f"Batch {number}")
    problem = ended(job)
    seconds = time.monotonic() - started
    if problem:
        outcome.violations.append(problem)
    elif job.status().state != "succeeded":
        failure = job.status().failure
        outcome.violations.append(f"batch {number} was not read: {failure and failure.message}")
    else:
        manifest = job.manifest()
        taken = {image.name for image in manifest.images}
        outcome.violations += [
            f"batch {number}: {name} is healthy and was not taken" for name in sorted(healthy - taken)
        ]
        kinds["taken"] += len(taken - healthy)
        for refusal in manifest.refused:
            kinds[f"refused, {refusal.kind}"] += 1
    outcome.violations += _strays(ground, {"batch", "batch.zip"})
    predicted = ground.command("predict", judge.path, folder, "--json")
    code, answers, said = answer(predicted)
    if code != 0 or answers is None or "Traceback" in said:
        outcome.violations.append(f"batch {number}: predict ended with {code}: {said[-2_000:]}")
    else:
        unanswered = {Path(found["file"]).name for found in answers if "error" in found}
        outcome.violations += [
            f"batch {number}: {name} is healthy and got no answer" for name in healthy if Path(name).name in unanswered
        ]
    outcome.violations += _strays(ground, {"batch", "batch.zip"})
    job.delete()
    shutil.rmtree(folder)
    (ground.root / "batch.zip").unlink(missing_ok=True)
    slowest = outcome.figures.get("slowest batch, seconds", 0.0)
    outcome.figures["slowest batch, seconds"] = max(slowest, round(seconds, 1))
    yield f"batch {number}: {len(names)} hostile among {len(healthy)} healthy pictures, read in {seconds:.1f} s"


def _archive_makers(ground: Ground) -> Callable[[int], tuple[str, Callable[[], bytes]]]:
    files = {
        f"{path.parent.name}/{path.name}": path.read_bytes() for path in sorted(ground.pictures.rglob("*.jpg"))[::6]
    }
    constructed = list(ARCHIVES.items())
    methods = list(MUTATIONS.items())
    good = zipped(files)

    def maker(number: int) -> tuple[str, Callable[[], bytes]]:
        if number < len(constructed):
            name, make = constructed[number]
            return name, lambda: make(files, ground.random)
        name, method = methods[number % len(methods)]
        return f"zip, {name}", lambda: method(good, hostile.real("PNG", ground.random), ground.random) or b"\0"

    return maker


def _archive(ground: Ground, number: int, name: str, content: bytes, outcome: Outcome, kinds: Counter[str]) -> Part:
    """A hostile archive, read as a data set: taken, or refused in words."""
    source = ground.root / "hostile.zip"
    source.write_bytes(content)
    job = jobs.submit_ingest(ground.workspace, source_kind="zip", source=source, name=f"Archive {number}")
    problem = ended(job)
    state = job.status().state
    if problem:
        outcome.violations.append(f"archive {number} ({name}): {problem}")
    elif state not in ("succeeded", "failed"):
        outcome.violations.append(f"archive {number} ({name}) ended as {state}")
    kinds[f"archives {state}"] += 1
    source.unlink()
    outcome.violations += [f"archive {number} ({name}): {stray}" for stray in _strays(ground, set())]
    job.delete()
    yield f"archive {number} ({name}): {state}"


def _strays(ground: Ground, known: set[str]) -> list[str]:
    """What lies beside the store that nobody put there, or anywhere under a name that an archive tried to write."""
    places = {"canary", "home", "new", "pictures", "store", "tmp"} | known
    found = [path for path in ground.root.iterdir() if path.name not in places]
    found += [path for name in ("home", "tmp") for path in (ground.root / name).rglob("*") if path.is_file()]
    found += [path for path in ground.root.rglob(f"*{ESCAPED}*") if path not in found]
    for path in found:
        remove(path)  # so that each is told once
    return [f"{path.relative_to(ground.root)} was written where it must not" for path in found]


def _tree(folder: Path) -> dict[str, str]:
    """The files of `folder`, which is made if it is not there, with hashes of what is in them."""
    if not folder.exists():
        for name in ("secret.txt", "deep/er/cup.jpg"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
