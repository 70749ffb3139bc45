"""Pictures that cost more than a picture may, in child processes that end for it: the others, and this process, go on."""

import os
import random
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from tests import hostile
from tests.conftest import PATIENCE, PictureFolder, picture, until
from tests.data.strange import telling
from tests.data.test_pixels import encoded
from tests.data.work import ingested
from tests.hostile import HOSTILE
from tl_core import children
from tl_core.data import decoder, guarded, pixels
from tl_core.data.formats import READ
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


def copy(pool: Pool, content: bytes) -> pixels.Copy:
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
    assert copy(pool, content) == pixels.make_copy(content, keep=True)
    assert pool.make_copy(content, keep=False) == pixels.make_copy(content, keep=False)
    there, here = (each.make_input(content, 32, "bicubic", shown=320) for each in (pool, pixels))
    assert (there.pixels == here.pixels).all()
    assert there.shown == here.shown
    assert not pool.make_input(content, 32, "bicubic").shown


def photo_before_a_film() -> bytes:
    photo = hostile.encoded(hostile.noise(random.Random(7)), "JPEG", progressive=True)
    return photo + b"\xff\xda\0\x0c" * 1_000 + random.Random(7).randbytes(1_000_000)


def phone_photo_with_a_depth_map() -> bytes:
    photo = hostile.encoded(hostile.noise(random.Random(7)), "JPEG", icc_profile=random.Random(7).randbytes(1_000_000))
    return photo[:2] + hostile.segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(65_000)) * 100 + photo[2:]


def png_in_small_chunks() -> bytes:
    content = hostile.real("PNG", random.Random(7))
    start = content.index(b"IDAT") - 4
    length = struct.unpack_from(">I", content, start)[0]
    pixels = content[start + 8 : start + 8 + length]
    chunks = b"".join(hostile.chunk(b"IDAT", pixels[at : at + 1]) for at in range(length))
    return content[:start] + chunks + content[start + 12 + length :]


def animated(format: str, frames: int) -> bytes:
    pictures = [hostile.noise(random.Random(7), (16, 16)).rotate(turn) for turn in range(frames)]
    return hostile.encoded(pictures[0], format, save_all=True, append_images=pictures[1:])


def microscopy_in_tiles() -> bytes:
    side, across = 64, 40
    data = random.Random(7).randbytes(side * side * 3)
    places = struct.pack(f"<{across * across}I", *[8] * across * across)
    lengths = struct.pack("<I", len(data)) * across * across
    tags = [
        (322, 4, 1, side),
        (323, 4, 1, side),
        (324, 4, across * across, places),
        (325, 4, across * across, lengths),
    ]
    return hostile.tiff(side * across, side * across, tags, data)


def avif_that_names_its_kind_late() -> bytes:
    content = hostile.real("AVIF", random.Random(7))
    return content.replace(b"ftypavif", b"ftypmif1", 1)


def bitmap_without_file_header() -> bytes:
    return hostile.encoded(hostile.noise(random.Random(7)), "DIB")


def scan_of_ten_thousand_rows(**options: object) -> bytes:
    tags = {278: 1}  # rows in each strip
    return hostile.encoded(hostile.noise(random.Random(7), (8, 10_000)), "TIFF", tiffinfo=tags, **options)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: hostile.jpeg_in_scans(random.Random(7), more=60), id="optimised JPEG with 70 scans"),
        photo_before_a_film,
        pytest.param(
            lambda: hostile.jpeg_in_scans(random.Random(7))[:-2] + b"\xff" * 5_000_000 + b"\xd9",
            id="JPEG in scans with 5 MB of fill bytes before its end",
        ),
        pytest.param(
            lambda: hostile.jpeg_in_scans(random.Random(7)) + b"\xff" * 5_000_000,
            id="JPEG in scans before 5 MB of 0xff",
        ),
        phone_photo_with_a_depth_map,
        pytest.param(
            lambda: hostile.encoded(
                hostile.noise(random.Random(7)), "MPO", save_all=True, append_images=[picture(0, n) for n in range(3)]
            ),
            id="photo with three more pictures",
        ),
        png_in_small_chunks,
        pytest.param(lambda: animated("PNG", 100), id="animated PNG"),
        pytest.param(lambda: animated("GIF", 50), id="animated GIF"),
        pytest.param(
            lambda: hostile.encoded(hostile.noise(random.Random(7)), "GIF", comment=b"x" * 1_000_000),
            id="GIF with a long comment",
        ),
        pytest.param(lambda: hostile.webp_frames(random.Random(7), frames=5_000), id="WebP with 5,000 frames"),
        pytest.param(lambda: hostile.bmp_runs(64, 64, (b"\x40\7" + b"\0\0") * 64 + b"\0\1"), id="BMP with runs"),
        bitmap_without_file_header,
        scan_of_ten_thousand_rows,
        pytest.param(lambda: scan_of_ten_thousand_rows(compression="tiff_lzw"), id="compressed scan in rows"),
        pytest.param(lambda: scan_of_ten_thousand_rows(big_tiff=True), id="BigTIFF"),
        microscopy_in_tiles,
        pytest.param(
            lambda: hostile.tiff_tile(random.Random(7), side=1024, width=64, height=64),
            id="small picture in a usual tile",
        ),
        pytest.param(
            lambda: hostile.encoded(hostile.noise(random.Random(7), (512, 384)), "HEIF", tile_size=64),
            id="HEIC with a grid of 48 tiles",
        ),
        pytest.param(
            lambda: hostile.encoded(hostile.noise(random.Random(7), (65, 65)), "HEIF", tile_size=64),
            id="HEIC with tiles over its edges",
        ),
        pytest.param(
            lambda: hostile.encoded(hostile.noise(random.Random(7)).convert("RGBA"), "HEIF"),
            id="HEIC with transparency",
        ),
        pytest.param(
            lambda: hostile.encoded(
                hostile.noise(random.Random(7)), "HEIF", save_all=True, append_images=[picture(0, n) for n in range(9)]
            ),
            id="HEIC of a burst",
        ),
        pytest.param(
            lambda: hostile.encoded(hostile.noise(random.Random(7)).convert("RGBA"), "AVIF"),
            id="AVIF with transparency",
        ),
        pytest.param(lambda: animated("AVIF", 10), id="animated AVIF"),
        avif_that_names_its_kind_late,
    ],
)
def test_an_unusual_picture_is_read_within_the_limits(pool: Pool, make: Callable[[], bytes]) -> None:
    assert copy(pool, make()).width > 0


@limited
@pytest.mark.parametrize(
    "name",
    [
        "PNG with 3,000 profiles of a megabyte",
        "JPEG of 110 million pixels in several scans",
        "GIF with a million comments",
        "WebP with 100,000 frames",
        "TIFF with a tile of 8192 x 8192 behind 64 x 64",
        "HEIC with 900 notes made of the same megabyte",
    ],
)
def test_a_file_that_costs_far_more_than_a_picture_is_refused(pool: Pool, name: str) -> None:
    """Those that exceed a limit on every machine. The others of `HOSTILE`, and what six of each cost: `tests/soak/costs.py`."""
    assert refusal(pool, HOSTILE[name].make(random.Random(7))).message.startswith("The picture ")
    assert copy(pool, GOOD).width == 64


@pytest.mark.parametrize(("pixels", "seconds"), [(4_096, 1.0), (4_000_000, 4.0), (60_000_000, 10.0)])
def test_a_picture_may_take_time_by_its_size(monkeypatch: pytest.MonkeyPatch, pixels: int, seconds: float) -> None:
    monkeypatch.setattr(children, "allow_memory", lambda _: None)
    signal.setitimer(signal.ITIMER_PROF, decoder.LEAST_SECONDS)
    try:
        with decoder._room(READ[0], 1_000, 1e-6, lambda *_: None, pixels):
            assert signal.getitimer(signal.ITIMER_PROF)[0] == pytest.approx(seconds, abs=0.2)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def test_in_a_set_with_many_costly_pictures_each_further_one_gets_less_time_and_healthy_ones_are_read(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    margins: list[int] = []
    ask = guarded._Child.ask
    monkeypatch.setattr(
        guarded._Child, "ask", lambda child, task, content: margins.append(task["margin"]) or ask(child, task, content)
    )
    monkeypatch.setattr(guarded, "PATIENCE", 1e-6)
    pool = Pool(1, module=STRANGE)
    refusal(pool, telling("hog 400"))
    assert copy(pool, GOOD).width == 64
    pool.make_input(GOOD, 32, "bicubic")
    assert margins == [guarded.MARGIN, guarded.HURRIED, guarded.MARGIN]
    pool.close()


def test_a_child_refuses_with_the_same_words(pool: Pool) -> None:
    for content in (b"hello", b"%PDF-1.7", GOOD[: len(GOOD) // 2]):
        here, there = refusal(pixels, content), refusal(pool, content)
        assert (there.message, there.reason) == (here.message, here.reason)


@limited
def test_a_picture_may_take_as_much_memory_as_its_size_needs_and_no_more(pool: Pool) -> None:
    small, large = Image.new("L", (64, 48)), Image.new("1", (5000, 4000))
    said = refusal(pool, telling("hog 400", small))
    assert "more memory" in said.message
    assert said.reason == "too_costly"
    assert copy(pool, telling("hog 400", large)).width == 1024
    assert copy(pool, GOOD).extension == ".jpg"
    with pytest.raises(UnreadableImage, match="more memory"):
        pool.make_input(GOOD, 20_000, "bicubic")


def test_one_of_the_largest_files_is_read_after_a_small_picture() -> None:
    pool = Pool(1)
    largest = GOOD + bytes(MAX_FILE_BYTES - len(GOOD))
    for content in (GOOD, largest):
        assert pool.make_copy(content, keep=True).width == 64
    pool.close()


@limited
def test_a_picture_that_leaves_little_memory_is_kept_as_any_other(pool: Pool) -> None:
    assert copy(pool, telling("fill", Image.new("RGB", (1024, 1024)))).width == 1024


def test_a_decoder_that_neither_works_nor_answers_is_ended() -> None:
    pool = Pool(1, module=STRANGE, wall_seconds=0.5)
    assert "more time" in refusal(pool, telling("wait")).message


@pytest.mark.parametrize(
    ("do", "words", "reason"),
    [
        ("spin", "more time", "too_costly"),
        ("die SIGSEGV", "damaged", "truncated"),
        ("die SIGABRT", "damaged", "truncated"),
        ("nonsense", "damaged", "truncated"),
    ],
)
def test_a_picture_that_holds_up_or_breaks_its_decoder_is_refused_and_the_next_one_read(
    pool: Pool, do: str, words: str, reason: str
) -> None:
    error = refusal(pool, telling(do))
    assert words in error.message
    assert error.reason == reason
    assert copy(pool, GOOD).width == 64


@linux
@pytest.mark.parametrize("header", ["[]", '{"refused": "truncated"}'])
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


def test_a_picture_whose_decoder_is_killed_as_it_starts_is_given_to_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed = ["sh", "-c", "kill -KILL $$"]
    commands = [killed, children.command("tl_core.data.decoder"), killed, killed]
    monkeypatch.setattr(children, "command", lambda _: commands.pop(0))
    pool = Pool(1)
    assert copy(pool, GOOD).width == 64
    pool.close()
    assert "ended twice" in refusal(pool, GOOD).message


@linux
def test_where_the_system_keeps_no_limit_a_decoder_that_takes_too_much_memory_is_ended(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "mapped", lambda: 0)
    assert "more memory" in refusal(pool, telling("hog_on 400", Image.new("L", (64, 48)))).message
    assert copy(pool, GOOD).width == 64


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
    copy(pool, telling("leak 120"))
    (first,) = decoders_of(os.getpid()) - before
    for _ in range(4):
        assert copy(pool, telling("leak 120")).width == 256
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
    pool = Pool(2, module=STRANGE)
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
    monkeypatch.setattr(guarded, "shared", lambda: pixels)
    assert taken(tmp_path / "here") == there


@linux
def test_decoders_end_with_the_process_that_started_them() -> None:
    code = (
        "import sys, threading\n"
        "from tests.data.strange import telling\n"
        "from tests.data.test_guarded import GOOD, STRANGE, copy\n"
        "from tl_core.data.guarded import Pool\n"
        "pool = Pool(2, module=STRANGE)\n"
        "copy(pool, GOOD)\n"
        "threading.Thread(target=copy, args=(pool, telling('spin_on'))).start()\n"
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
