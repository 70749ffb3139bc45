"""Pictures that cost more than a picture may, in child processes that end for it: the others, and this process, go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import PATIENCE, PictureFolder, picture, until
from tests.data.strange import telling
from tests.data.test_pixels import encoded
from tests.data.work import ingested
from tl_core import children
from tl_core.data import guarded, reading
from tl_core.data.guarded import Pool
from tl_core.data.pixels import MAX_FILE_BYTES
from tl_core.documents.manifest import Manifest
from tl_core.errors import UnreadableImage

GOOD = encoded(picture(1, 1), "JPEG")
STRANGE = "tests.data.strange"
limited = pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not keep a limit on memory")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool(2, module=STRANGE)
    yield pool
    pool.close()


def copy(pool: Pool, content: bytes) -> reading.Copy:
    return pool.make_copy(content, keep=True)


def refusal(pool: Pool, content: bytes) -> UnreadableImage:
    with pytest.raises(UnreadableImage) as caught:
        copy(pool, content)
    return caught.value


def decoders_of(parent: int) -> set[int]:
    """Ids of the processes that `parent` started and that have not ended."""
    return {int(folder.name) for folder in Path("/proc").glob("[0-9]*") if _state(folder)[1:2] == [str(parent)]}


def _state(process: Path) -> list[str]:
    """A letter for the state of a process, and the id of its parent; empty where it has ended."""
    try:
        state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [] if state == "Z" else [state, parent]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF"])
def test_a_child_makes_the_same_of_a_picture_as_this_process(pool: Pool, format: str) -> None:
    content = encoded(picture(2, 3, (1300, 40)), format)
    assert copy(pool, content) == reading.make_copy(content, keep=True)
    assert pool.make_copy(content, keep=False) == reading.make_copy(content, keep=False)
    there, here = (each.make_input(content, 32, "bicubic", shown=320) for each in (pool, reading))
    assert (there.pixels == here.pixels).all()
    assert there.shown == here.shown
    assert not pool.make_input(content, 32, "bicubic").shown


def test_a_child_refuses_with_the_same_words(pool: Pool) -> None:
    for content in (b"hello", b"%PDF-1.7", GOOD[: len(GOOD) // 2]):
        with pytest.raises(UnreadableImage) as here:
            reading.make_copy(content, keep=True)
        assert (refusal(pool, content).message, refusal(pool, content).reason) == (
            here.value.message,
            here.value.reason,
        )


@limited
def test_a_picture_may_take_as_much_memory_as_its_size_needs_and_no_more(pool: Pool) -> None:
    small, large = Image.new("L", (64, 48)), Image.new("1", (5000, 4000))
    said = refusal(pool, telling("hog 400", small))
    assert "more memory" in said.message
    assert said.reason == "too_costly"
    assert copy(pool, telling("hog 400", large)).width == 1024
    assert copy(pool, GOOD).extension == ".jpg"


def test_one_of_the_largest_files_is_read_after_a_small_picture() -> None:
    pool = Pool(1)
    largest = GOOD + bytes(MAX_FILE_BYTES - len(GOOD))
    for content in (GOOD, largest):
        assert pool.make_copy(content, keep=True).width == 64
    pool.close()


@limited
def test_a_picture_that_leaves_little_memory_is_kept_as_any_other(pool: Pool) -> None:
    assert copy(pool, telling("fill", Image.new("RGB", (1024, 1024)))).width == 1024


@limited
def test_an_input_that_takes_too_much_memory_is_refused(pool: Pool) -> None:
    with pytest.raises(UnreadableImage, match="more memory"):
        pool.make_input(GOOD, 20_000, "bicubic")


def test_a_picture_that_takes_processor_time_without_end_is_refused() -> None:
    pool = Pool(1, module=STRANGE, cpu_seconds=2)
    for _ in range(2):
        said = refusal(pool, telling("spin"))
        assert "more time" in said.message
        assert said.reason == "too_costly"
        assert copy(pool, GOOD).width == 64
    pool.close()


def test_a_decoder_that_neither_works_nor_answers_is_ended() -> None:
    pool = Pool(1, module=STRANGE, wall_seconds=0.5)
    assert "more time" in refusal(pool, telling("wait")).message


@pytest.mark.parametrize("do", ["die SIGSEGV", "die SIGABRT", "nonsense"])
def test_a_picture_that_breaks_its_decoder_is_refused_as_damaged(pool: Pool, do: str) -> None:
    assert refusal(pool, telling(do)).reason == "truncated"
    assert copy(pool, GOOD).width == 64


@linux
@pytest.mark.parametrize("header", ["[]", '{"pixels": Infinity}'])
def test_a_decoder_whose_answer_cannot_be_used_is_ended_and_its_picture_refused(header: str) -> None:
    before = decoders_of(os.getpid())
    pool = Pool(1, module=STRANGE)
    with pytest.raises(UnreadableImage):
        pool.make_input(telling(f"answer {header}"), 32, "bicubic")
    assert decoders_of(os.getpid()) <= before
    pool.close()


def test_a_picture_whose_decoder_is_killed_is_given_to_another_one(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "kill").touch()
    assert copy(pool, telling(f"die_if {tmp_path / 'kill'}")).width == 256
    assert not (tmp_path / "kill").exists()
    assert "ended twice" in refusal(pool, telling("die SIGKILL")).message


@linux
def test_a_decoder_that_is_killed_while_it_is_idle_is_replaced() -> None:
    before = decoders_of(os.getpid())
    pool = Pool(1)
    copy(pool, GOOD)
    (idle,) = decoders_of(os.getpid()) - before
    os.kill(idle, signal.SIGKILL)
    assert copy(pool, GOOD).width == 64
    pool.close()
    assert decoders_of(os.getpid()) <= before


@linux
def test_a_decoder_that_loses_memory_is_replaced_before_it_runs_out() -> None:
    before = decoders_of(os.getpid())
    pool = Pool(1, module=STRANGE)
    copy(pool, telling("leak 160"))
    (first,) = decoders_of(os.getpid()) - before
    for _ in range(4):
        assert copy(pool, telling("leak 160")).width == 256
    assert first not in decoders_of(os.getpid())
    pool.close()


def test_of_the_largest_pictures_one_is_decoded_at_a_time(tmp_path: Path) -> None:
    pool = Pool(3, module=STRANGE)
    content = telling(f"hold {tmp_path / 'held'}", Image.new("1", (5000, 5000)))
    with ThreadPoolExecutor(3) as threads:
        made = list(threads.map(lambda _: copy(pool, content), range(6)))
    assert {each.width for each in made} == {1024}
    pool.close()


def test_a_decoder_that_cannot_start_is_a_fault_and_no_damaged_picture() -> None:
    with pytest.raises(RuntimeError, match="before it was ready"):
        copy(Pool(1, module="tests.data.nowhere"), GOOD)


def test_hostile_pictures_are_refused_in_their_place_and_their_neighbours_taken(
    picture_folder: PictureFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = picture_folder({"cat": 12, "dog": 12})
    alone = ingested(source, tmp_path / "alone")
    strange = {"spin": "too_costly", "hog 3000": "too_costly", "die SIGSEGV": "truncated", "nonsense": "truncated"}
    for number, do in enumerate(strange):
        (source / "cat" / f"{3 * number:03}-{number}.png").write_bytes(telling(do))
    pool = Pool(2, module=STRANGE, cpu_seconds=2)
    monkeypatch.setattr(guarded, "shared", lambda: pool)
    manifest = ingested(source, tmp_path / "d")
    pool.close()
    assert [refused.kind for refused in manifest.refused] == list(strange.values())
    without_files = [entry.model_copy(update={"file": ""}) for entry in manifest.images]
    assert without_files == [entry.model_copy(update={"file": ""}) for entry in alone.images]


def test_the_manifest_is_that_of_decoding_in_this_process(
    picture_folder: PictureFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = picture_folder({"cat": 6, "dog": 6}, size=(1200, 90))
    (source / "cat" / "drawn.png").write_bytes(encoded(picture(0, 99), "PNG"))
    (source / "cat" / "cut.jpg").write_bytes(GOOD[:400])

    def taken(into: Path) -> tuple[Manifest, dict[str, bytes]]:
        manifest = ingested(source, into).model_copy(update={"created": 0.0})
        return manifest, {str(file.relative_to(into)): file.read_bytes() for file in into.glob("*/*")}

    there = taken(tmp_path / "there")
    monkeypatch.setattr(guarded, "shared", lambda: reading)
    assert taken(tmp_path / "here") == there


@linux
def test_decoders_end_with_the_process_that_started_them() -> None:
    code = (
        "import sys, threading\n"
        "from tests.data.strange import telling\n"
        "from tests.data.test_guarded import GOOD, STRANGE, copy\n"
        "from tl_core.data.guarded import Pool\n"
        "pool = Pool(2, module=STRANGE, cpu_seconds=100_000)\n"
        "copy(pool, GOOD)\n"
        "threading.Thread(target=copy, args=(pool, telling('spin'))).start()\n"
        "threading.Thread(target=copy, args=(pool, telling('wait'))).start()\n"
        "print('ready', flush=True)\n"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code], env=children.environment(), stdout=subprocess.PIPE, text=True
    )
    assert program.stdout
    assert program.stdout.readline() == "ready\n"
    until(lambda: len(decoders_of(program.pid)) == 2)
    decoders = decoders_of(program.pid)
    program.kill()
    program.wait(PATIENCE)
    until(lambda: not any(_state(Path(f"/proc/{decoder}")) for decoder in decoders))
