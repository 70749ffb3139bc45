"""`import tl_core`: a handful of names, light to import, the same results as the command line."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import tl_core
from tests.cli.conftest import ROOT, SIZE, Trained, environment
from tl_core.cli import train as training
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.options import OPTIONS
from tl_core.runs.store.store import Store

HEAVY = {"torch", "torchvision", "timm", "sklearn", "scipy", "onnx", "onnxruntime", "pandas", "streamlit"}


def loaded_after(code: str, store: Path, *arguments: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after `code`."""
    script = f"{code}\nimport sys, json; sys.stdout.write(json.dumps(sorted(m.partition('.')[0] for m in sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env=environment(store),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_public_names_are_these() -> None:
    assert sorted(tl_core.__all__) == ["GraftError", "__version__", "load", "train"]
    assert all(getattr(tl_core, name) is not None for name in tl_core.__all__)
    with pytest.raises(AttributeError):
        tl_core.no_such_name  # noqa: B018 - the look-up is what is tried


def test_importing_and_asking_for_help_is_light(store: Path) -> None:
    assert not HEAVY & loaded_after("import tl_core; tl_core.train; tl_core.load", store)
    help_only = "import contextlib, io, tl_core.cli\nwith contextlib.redirect_stdout(io.StringIO()): tl_core.cli.main(['--help'])"
    assert not HEAVY & loaded_after(help_only, store)


@pytest.mark.skipif(sys.platform == "darwin", reason="the libraries of a child are read from /proc")
def test_predicting_imports_no_torch(trained: Trained) -> None:
    # The graph runs in a child; the libraries that it has mapped are looked at as well.
    code = """
import sys, tl_core
from pathlib import Path
model = tl_core.load(sys.argv[1])
model.predict([sys.argv[2]])
children = [number for file in Path("/proc/self/task").glob("*/children") for number in file.read_text().split()]
mapped = "".join(Path(f"/proc/{number}/maps").read_text() for number in children)
sys.modules.update({name: sys for name in ("onnxruntime", "torch") if f"/{name}/" in mapped})
"""
    loaded = loaded_after(code, trained.store, str(trained.run_dir), str(trained.data / "apple" / "000.jpg"))
    assert "onnxruntime" in loaded
    assert not {"torch", "torchvision", "timm"} & loaded


def test_train_names_every_option_in_its_source_as_the_command_line_does() -> None:
    offered, types = inspect.signature(tl_core.train).parameters, get_type_hints(tl_core.train)
    command = inspect.signature(training.train).parameters
    for name, option in OPTIONS.items():
        kind = get_args(option.annotation)[0]
        assert types[name] == (kind | None if option.default is None else kind), name
        assert offered[name].default == command[name].default == option.default, name
    assert set(offered) - set(OPTIONS) == {"data", "classes", "groups", "out", "workspace", "on_event"}
    assert set(command) - set(OPTIONS) == {"data", "classes", "groups", "out", "workspace", "json"}


def test_train_returns_what_the_command_prints_and_says_what_it_does(
    trained: Trained, cached: Path, store: Path
) -> None:
    events: list[Event] = []
    result = tl_core.train(cached, image_size=SIZE, seed=3, on_event=events.append)
    assert set(result) == set(trained.result)
    for name in ("classes", "test_accuracy", "val_accuracy", "test_interval", "macro_f1", "test_images"):
        assert result[name] == trained.result[name]
    stages = [event.stage for event in events if isinstance(event, StageStarted)]
    assert stages[0] == "reading"
    assert {"training", "export", "evaluation"} <= set(stages)
    assert Path(result["run_dir"]).is_relative_to(store)
    assert [data.spec().judged for data in Store(store).command_line_workspace().datasets()] == [False]


def test_train_raises_what_the_user_can_mend(tmp_path: Path) -> None:
    with pytest.raises(tl_core.GraftError, match="no file or folder"):
        tl_core.train(tmp_path / "missing")


def test_a_listener_that_raises_cancels_the_job(trained: Trained, store: Path) -> None:
    def stop(event: Event) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        tl_core.train(trained.data, on_event=stop)
    assert not Store(store).command_line_workspace().live()
