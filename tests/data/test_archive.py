import io
import stat
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tl_core.data import archive
from tl_core.data.archive import extract
from tl_core.errors import DataError, GraftError, UnsafeArchive

MB = 1_000_000


def make(path: Path, files: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def refused(tmp_path: Path, zip_path: Path, message: str, *, max_bytes: int = 100 * MB) -> GraftError:
    """The refusal of `zip_path`; asserts that nothing at all was left on disk."""
    before = everything(tmp_path)
    with pytest.raises(GraftError, match=message) as caught:
        extract(zip_path, tmp_path / "work" / "into", max_bytes=max_bytes)
    assert everything(tmp_path) - before <= {"work"}
    assert "Traceback" not in caught.value.message
    return caught.value


def test_files_come_out_with_their_names_as_text_and_numbers_on_disk(tmp_path: Path) -> None:
    files = {"photos/cat/a.jpg": b"one", "photos/dog/b.jpg": b"two", "photos/cat/": b""}
    found = extract(make(tmp_path / "a.zip", files), tmp_path / "into", max_bytes=MB)
    assert {file.parts: file.path.read_bytes() for file in found} == {
        ("photos", "cat", "a.jpg"): b"one",
        ("photos", "dog", "b.jpg"): b"two",
    }
    assert all(path.name.isdigit() and path.parent == tmp_path / "into" for path in (tmp_path / "into").iterdir())


ABSOLUTE = ["/etc/cron.d/x.jpg", "C:\\Windows\\x.jpg", "c:/x.jpg", "\\\\server\\share\\x.jpg", "//server/x.jpg"]
CLIMBING = ["../x.jpg", "cat/../../x.jpg", "..\\x.jpg", "cat\\..\\..\\x.jpg", "cat/.."]
NESTED = ["cat/more.zip", "more.tar.gz", "cat/x.7z", "cat/x.RAR"]
HEADS = [b"PK\x03\x04", b"\x1f\x8b\x08", b"Rar!\x1a\x07\x00", b"7z\xbc\xaf\x27\x1c"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        *((name, b"x", "an absolute path") for name in ABSOLUTE),
        *((name, b"x", "climbs out") for name in CLIMBING),
        *((name, b"x", "another archive") for name in NESTED),
        *(("cat/b.jpg", head + b"x" * 50, "another archive") for head in HEADS),
        ("cat/" + "a/" * 30_000 + "x.jpg", b"x", "more than 100 folders deep"),
        ("cat/b.jpg", bytes(60 * MB), "more than 100 times"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_a_zip_with_such_a_file_is_refused_in_a_short_sentence(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    error = refused(tmp_path, make(tmp_path / "a.zip", {"cat/a.jpg": b"x", name: content}), message)
    assert isinstance(error, UnsafeArchive)
    assert len(error.message) < 400


@pytest.mark.parametrize(
    ("name", "content"),
    [("list.xlsx", b"PK\x03\x04.."), ("cat/a.bmp", bytes(5 * MB)), ("a/" * 100 + "x.jpg", b"x")],
    ids=["a document", "a drawing that packs well", "deep folders"],
)
def test_what_is_no_attack_is_taken(tmp_path: Path, name: str, content: bytes) -> None:
    (found,) = extract(make(tmp_path / "a.zip", {name: content}), tmp_path / "into", max_bytes=100 * MB)
    assert found.parts == tuple(name.split("/"))


@pytest.mark.parametrize(
    ("content", "method", "message"),
    [
        (bytes([7]) * 5 * MB, zipfile.ZIP_STORED, "unpacks to more than 4 MB"),
        (bytes(MB), zipfile.ZIP_LZMA, "method that is not read"),
    ],
    ids=["many bytes", "an unusual method"],
)
def test_too_many_bytes_and_methods_that_unpack_in_one_gulp_are_refused(
    tmp_path: Path, content: bytes, method: int, message: str
) -> None:
    refused(tmp_path, make(tmp_path / "a.zip", {"cat/a.jpg": content}, method=method), message, max_bytes=4 * MB)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    info = zipfile.ZipInfo("cat/link.jpg")
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(info, "/etc/passwd")
    refused(tmp_path, tmp_path / "a.zip", "a link or a device")


@pytest.mark.parametrize(("files", "name"), [(30, "cat/{}.jpg"), (3_000, "cat/{:0200}.jpg")])
def test_too_many_files_are_refused_and_a_list_that_would_fill_the_memory_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int, name: str
) -> None:
    zip_path = make(tmp_path / "a.zip", {name.format(index): b"" for index in range(files)})
    monkeypatch.setattr(archive, "MAX_FILES", 20)
    if files > 30:
        monkeypatch.setattr(zipfile, "ZipInfo", lambda *_: pytest.fail("an entry was read"))
    refused(tmp_path, zip_path, "more than 20 files")


def test_too_many_bytes_in_one_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_FILE_BYTES", 2 * MB)
    zip_path = make(tmp_path / "a.zip", {"cat/a.jpg": b"x" * 3 * MB}, method=zipfile.ZIP_STORED)
    refused(tmp_path, zip_path, r"a.jpg in a.zip has more than 2 MB")


@pytest.mark.parametrize(
    ("content", "method", "declared", "message"),
    [
        (bytes(60 * MB), zipfile.ZIP_DEFLATED, 2_000_000_000, "more than 100 times"),
        (bytes(range(256)) * 20_000, zipfile.ZIP_STORED, 10, "unpacks to more|damaged"),
    ],
    ids=["a bomb", "many bytes"],
)
def test_declared_sizes_that_lie_do_not_help(
    tmp_path: Path, content: bytes, method: int, declared: int, message: str
) -> None:
    zip_path = make(tmp_path / "a.zip", {"cat/a.jpg": content}, method=method)
    packed = bytearray(zip_path.read_bytes())
    struct.pack_into("<I", packed, packed.index(b"PK\x01\x02") + 24, declared)
    zip_path.write_bytes(packed)
    refused(tmp_path, zip_path, message, max_bytes=4 * MB if declared == 10 else 100 * MB)


def test_files_that_share_their_bytes_do_not_help_a_bomb(tmp_path: Path) -> None:
    """Many entries of the list of contents point at the same packed megabytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.jpg", bytes(15 * MB))
    plain = buffer.getvalue()
    start = plain.index(b"PK\x01\x02")
    end = plain.rindex(b"PK\x05\x06")
    entry, count = plain[start:end], 50
    tail = bytearray(plain[end:])
    struct.pack_into("<HHI", tail, 8, count, count, len(entry) * count)
    (tmp_path / "a.zip").write_bytes(plain[:start] + entry * count + tail)
    refused(tmp_path, tmp_path / "a.zip", "more than 100 times|damaged", max_bytes=10_000 * MB)


def damaged(content: bytes) -> bytes:
    at = len(content) // 3
    return content[:at] + bytes(byte ^ 0xFF for byte in content[at : at + 40]) + content[at + 40 :]


@pytest.mark.parametrize(
    "spoil",
    [lambda content: content[: len(content) // 2], lambda content: b"", lambda content: b"no zip at all", damaged],
    ids=["cut off", "empty", "text", "damaged"],
)
def test_a_broken_zip_is_said_in_words(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    zip_path = make(tmp_path / "a.zip", {"cat/a.jpg": bytes(range(256)) * 40})
    zip_path.write_bytes(spoil(zip_path.read_bytes()))
    refused(tmp_path, zip_path, "is no zip, or a damaged one")


@pytest.mark.parametrize("moved", [-50, 1 << 63])
def test_an_entry_that_lies_outside_of_the_file_is_said_in_words(tmp_path: Path, moved: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("cup/1.jpg", b"x")
        archive.infolist()[0].header_offset += max(0, moved)
    content = buffer.getvalue()
    if moved < 0:
        # The directory seems to begin earlier than its place, as if the zip lacked its first bytes.
        end = content.rindex(b"PK\x05\x06")
        (start,) = struct.unpack_from("<I", content, end + 16)
        content = content[: end + 16] + struct.pack("<I", start - moved) + content[end + 20 :]
    path = tmp_path / "moved.zip"
    path.write_bytes(content)
    with pytest.raises(DataError, match="a damaged one"):
        extract(path, tmp_path / "out", max_bytes=10**9)
    assert not (tmp_path / "out").exists()


def test_a_password_is_said_in_words(tmp_path: Path) -> None:
    zip_path = make(tmp_path / "a.zip", {"cat/a.jpg": b"x" * 50})
    content = bytearray(zip_path.read_bytes())
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.index(mark) + offset] |= 1
    zip_path.write_bytes(content)
    refused(tmp_path, zip_path, "password")


def test_a_mac_zip_keeps_its_umlauts(tmp_path: Path) -> None:
    zip_path = make(tmp_path / "a.zip", {"Mädchen/a.jpg": b"x"})
    content = zip_path.read_bytes()
    content = content.replace(struct.pack("<H", 0x800), struct.pack("<H", 0))
    zip_path.write_bytes(content)
    with zipfile.ZipFile(zip_path) as packed:
        assert packed.infolist()[0].flag_bits == 0
    found = extract(zip_path, tmp_path / "into", max_bytes=MB)
    assert found[0].parts == ("Mädchen", "a.jpg")


def test_strange_names_never_reach_the_disk(tmp_path: Path) -> None:
    strange = ["<script>alert(1)<script>", "a\nb", "x" * 300, "猫", " ", "CON", "a\x1b[31m", "-rf"]
    zip_path = make(tmp_path / "a.zip", {f"{name}/a.jpg": name.encode() for name in strange})
    found = extract(zip_path, tmp_path / "into", max_bytes=MB)
    assert {file.parts[0]: file.path.read_bytes().decode() for file in found} == {name: name for name in strange}
    assert all(name.isdigit() for name in everything(tmp_path / "into"))


def test_an_entry_without_a_name_is_passed_over(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"cat/a.jpg": b"one", "n": b"two"})
    path.write_bytes(path.read_bytes().replace(b"n", b"\0"))
    assert [file.parts for file in extract(path, tmp_path / "into", max_bytes=MB)] == [("cat", "a.jpg")]


def forged_directory(path: Path, trick: str) -> Path:
    """A zip of two files with names so long that its directory has 1,400 bytes, which its last end mark hides by `trick`."""
    make(path, {f"cat/{letter * 600}.jpg": b"x" for letter in "ab"})
    whole = path.read_bytes()
    end = whole.rfind(b"PK\x05\x06")
    start, mark = whole.find(b"PK\x01\x02"), whole[end:]
    if trick == "Zip64 record":
        size, offset = struct.unpack_from("<II", mark, 12)
        record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, size, offset)
        locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
        path.write_bytes(whole[:end] + record + locator + mark[:12] + struct.pack("<II", 100, start) + mark[20:])
    else:
        # A mark in the fields of the mark that nobody reads: who looks for the last one finds it, with nothing behind it.
        path.write_bytes(whole[:end] + mark[:4] + b"PK\x05\x06" + mark[8:])
    return path


@pytest.mark.parametrize("trick", ["Zip64 record", "mark within the mark"])
def test_a_directory_that_is_too_long_is_refused_whatever_its_end_says(
    tmp_path: Path, trick: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = forged_directory(tmp_path / "a.zip", trick)
    with zipfile.ZipFile(path) as opened:
        assert len(opened.namelist()) == 2, "the parser reads it"
    monkeypatch.setattr(archive, "MAX_FILES", 2)
    error = refused(tmp_path, path, "holds more than 2 files")
    assert isinstance(error, UnsafeArchive)
