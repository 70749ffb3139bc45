"""What other users of the machine may read of this app's processes, and what a worker is told of the operator's secrets."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import PictureFolder, picture, until
from tests.runs.conftest import BOTH, SIZE, ended
from tests.runs.executors import LocalScratch, ServedScratch
from tl_core.documents.tasks import PreviewSpec
from tl_core.runs.process.executor import cancel
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import RunFolder
from tl_core.runs.store.store import Store, new_token
from tl_core.runs.tasks.ask import ask
from tl_core.serving.predictor import Predictor

Train = Callable[..., RunFolder]
pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="this system has no /proc")


def _told(process: int | str) -> tuple[bytes, bytes]:
    """Arguments and environment of a process; empty where it has ended."""
    told = [b"", b""]
    for number, name in enumerate(("cmdline", "environ")):
        with suppress(OSError):
            told[number] = Path(f"/proc/{process}/{name}").read_bytes()
    return told[0], told[1]


@contextmanager
def _watched() -> Iterator[set[bytes]]:
    """Arguments and environments of all processes of the machine, read again and again while the block runs."""
    seen: set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            for entry in Path("/proc").iterdir():
                if entry.name.isdecimal():
                    seen.update(_told(entry.name))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


@pytest.mark.usefixtures("backbones")
def test_the_token_is_in_no_argument_and_no_environment_of_any_process(picture_folder: PictureFolder) -> None:
    workspace = Store.default().workspace(new_token())
    with _watched() as seen:
        dataset = jobs.submit_ingest(workspace, source_kind="folder", source=picture_folder(), name="Pets")
        assert ended(dataset) == "succeeded"
        run = jobs.submit_training(workspace, dataset, image_size=SIZE)
        assert ended(run) == "succeeded"
        question = PreviewSpec(workspace=workspace.token, dataset=dataset.id, rows=(0,), copies=1, image_size=48)
        assert ended(ask(workspace, question)) == "succeeded"
        assert len(Predictor(run.bundle).predict([picture(0, 0)])) == 1
    assert any(b"tl_core.runs.worker" in text for text in seen)
    assert not any(workspace.token.encode() in text for text in seen)


@BOTH
def test_a_worker_finds_its_job_as_its_working_folder_from_which_it_imports_nothing(
    train: Train, place: LocalScratch | ServedScratch
) -> None:
    run = train("best")
    until(lambda: run.best.exists() and run.status().state == "running")
    process = place.process(run)
    assert Path(f"/proc/{process}/cwd").resolve() == run.path.resolve()
    assert not any(run.path.parents[1].name.encode() in text for text in _told(process))
    cancel(run)
    for module in ("json", "tempfile", "tl_core", "tests"):
        (run.path / f"{module}.py").write_text("raise SystemExit('imported from the working folder')\n")
    jobs.go_on(run, "best")
    assert ended(run) == "succeeded"


SECRETS = {"AWS_SECRET_ACCESS_KEY": "s3-5f1c", "GRAFT_PASSWORD": "pw-5f1c", "DATABASE_URL": "db://u:5f1c@host"}


@pytest.mark.parametrize(("backbone", "downloads"), [("efficientnet_lite0", False), ("vit_b_16", True)])
def test_a_worker_sees_no_secret_of_the_operator_and_the_key_to_the_hub_only_to_download_weights(
    train: Train,
    place: LocalScratch,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    backbone: str,
    downloads: bool,
) -> None:
    for name, value in {
        **SECRETS,
        "HF_TOKEN": "hf-5f1c",
        "TORCH_HOME": str(tmp_path),
        "CUDA_VISIBLE_DEVICES": "",
    }.items():
        monkeypatch.setenv(name, value)
    run = train("slow", backbone=backbone)
    until(lambda: run.status().state == "running")
    _, environment = _told(place.process(run))
    cancel(run)
    variables = dict(entry.split(b"=", 1) for entry in environment.split(b"\0") if entry)
    assert (b"HF_TOKEN" in variables) == downloads
    assert not {name.encode() for name in SECRETS} & set(variables)
    assert b"5f1c" not in environment.replace(b"hf-5f1c", b"")
    assert {b"PATH", b"GRAFT_STORE", b"TORCH_HOME", b"CUDA_VISIBLE_DEVICES"} <= set(variables)
