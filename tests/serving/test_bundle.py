"""A bundle can be written, read and zipped; one that lies, is damaged or could do harm is refused in words."""

import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.serving.conftest import SPLIT, WEIGHT, bundle_info
from tests.serving.test_card import card
from tl_core.errors import BundleError
from tl_core.serving.bundle import Bundle, read_bundle, to_zip, write_bundle
from tl_core.serving.bundle_files import BUNDLE_FILES, ONNX, BundleFile


def test_a_written_bundle_reads_back_as_it_was(bundle: Bundle) -> None:
    assert sorted(file.name for file in bundle.folder.iterdir()) == [
        "MODEL_CARD.md",
        "bundle.json",
        "model.onnx",
        "model.safetensors",
        "split.json",
    ]
    again = read_bundle(bundle.folder.parent)
    assert again.info == bundle.info
    assert np.array_equal(load_file(again.tensors)["fc.weight"], WEIGHT)
    assert [entry.name for entry in bundle.folder.parent.iterdir()] == ["bundle"]


def test_a_second_one_replaces_the_first_and_a_wrong_one_does_not(bundle: Bundle, graph: Path) -> None:
    tensors = {"fc.weight": WEIGHT * 2, "fc.bias": np.zeros(3, np.float32)}
    write_bundle(bundle.folder, info=bundle_info(name="second"), split=SPLIT, onnx=graph, tensors=tensors)
    assert read_bundle(bundle.folder).info.name == "second"
    with pytest.raises(BundleError):
        write_bundle(bundle.folder, info=bundle_info(embedding_size=4), split=SPLIT, onnx=graph, tensors=tensors)
    assert read_bundle(bundle.folder).info.name == "second"
    assert [entry.name for entry in bundle.folder.parent.iterdir()] == ["bundle"]


def test_zip_is_the_same_each_time_and_leaves_nothing_behind(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    first = to_zip(bundle.folder, tmp_path / "out" / "a.zip")
    second = to_zip(bundle.folder.parent, tmp_path / "out" / "b.zip")
    assert first.read_bytes() == second.read_bytes()
    assert sorted(file.name for file in first.parent.iterdir()) == ["a.zip", "b.zip"]
    opened = read_bundle(first)
    assert opened.folder.is_relative_to(tmp_path / "temporary")
    assert opened.info == bundle.info
    del opened
    assert not list((tmp_path / "temporary").iterdir())


def test_whoever_adds_a_file_adds_a_row_and_finds_it_in_zip_card_and_checks(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        BUNDLE_FILES, "labels.txt", BundleFile(title="one class a line", details="All {classes}.", most_bytes=100)
    )
    assert read_bundle(bundle.folder).info == bundle.info, "a bundle made before lacks the file"
    (bundle.folder / "labels.txt").write_text("red\ngreen\nblue\n")
    opened = read_bundle(to_zip(bundle.folder, tmp_path / "a.zip"))
    assert (opened.folder / "labels.txt").read_text() == "red\ngreen\nblue\n"
    assert "- `labels.txt`: one class a line. All 3." in card(bundle.info)
    (bundle.folder / "labels.txt").write_text("x" * 101)
    with pytest.raises(BundleError, match=r"labels\.txt has 101 bytes; up to 100"):
        read_bundle(bundle.folder)


def test_a_zip_made_again_on_a_mac_is_read(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "mac.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in bundle.folder.iterdir():
            archive.write(file, f"my bundle/{file.name}")
        archive.writestr("__MACOSX/my bundle/._bundle.json", b"x")
        archive.writestr("my bundle/.DS_Store", b"x")
    assert read_bundle(path).info == bundle.info


def zip_of(bundle: Bundle, path: Path, extra: dict[str, bytes], *, leave_out: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in bundle.folder.iterdir():
            if file.name != leave_out:
                archive.write(file, file.name)
        for name, content in extra.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil.onnx", "climbs out"),
        ("a/../../model.onnx", "climbs out"),
        ("/tmp/evil", "absolute"),
        ("..\\evil.txt", "climbs out"),
        ("C:\\evil.txt", "absolute"),
        ("model.pkl", "no place"),
        ("run.py", "no place"),
        ("data.zip", "another archive"),
        ("a/b/model.onnx", "no place"),
    ],
)
def test_a_zip_with_more_than_a_bundle_is_refused(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(inside))
    path = zip_of(bundle, tmp_path / "b.zip", {name: b"x"})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BundleError, match=words):
        read_bundle(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_in_a_zip_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    path = zip_of(bundle, tmp_path / "b.zip", {}, leave_out="model.onnx")
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo("model.onnx")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(BundleError, match="a link"):
        read_bundle(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_packed_by_an_unusual_method_is_refused(bundle: Bundle, tmp_path: Path, method: int) -> None:
    path = zip_of(bundle, tmp_path / "b.zip", {}, leave_out="model.onnx")
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(bundle.onnx, "model.onnx", compress_type=method)
    with pytest.raises(BundleError, match="method that is not read"):
        read_bundle(path)


@pytest.mark.parametrize(
    ("name", "content", "leave_out", "words"),
    [
        ("inner/model.onnx", b"x", "", "twice"),
        ("model.onnx", bytes(60_000_000), "model.onnx", "zip bomb"),
        ("bundle.json", np.random.default_rng(0).bytes(5_000_000), "bundle.json", "more than 4 MB"),
    ],
    ids=["a name twice", "a zip bomb", "too large"],
)
def test_a_zip_that_lies_is_stopped_while_it_is_written(
    bundle: Bundle, tmp_path: Path, name: str, content: bytes, leave_out: str, words: str
) -> None:
    with pytest.raises(BundleError, match=words):
        read_bundle(zip_of(bundle, tmp_path / "b.zip", {name: content}, leave_out=leave_out))


def test_a_large_graph_is_refused_by_its_size(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUNDLE_FILES, ONNX, replace(BUNDLE_FILES[ONNX], most_bytes=100))
    with pytest.raises(BundleError, match="bytes; up to"):
        read_bundle(bundle.folder)


def test_a_damaged_zip_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    whole = to_zip(bundle.folder, tmp_path / "b.zip").read_bytes()
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(whole[:300] + bytes(50) + whole[350:])
    with pytest.raises(BundleError, match="damaged"):
        read_bundle(damaged)
    damaged.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match="neither"):
        read_bundle(damaged)


def test_pickle_is_never_opened(bundle: Bundle, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)  # type: ignore[return-value]

    trap = pickle.dumps(Trap())
    (bundle.folder / "model.pkl").write_bytes(trap)
    with pytest.raises(BundleError, match=r"model\.pkl"):
        read_bundle(bundle.folder)
    (bundle.folder / "model.pkl").unlink()
    for name in ("model.safetensors", "model.onnx"):
        content = (bundle.folder / name).read_bytes()
        (bundle.folder / name).write_bytes(trap)
        with pytest.raises(BundleError, match=name):
            read_bundle(bundle.folder)
        (bundle.folder / name).write_bytes(content)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["bundle.json", "model.onnx", "model.safetensors"])
def test_a_bundle_that_lacks_a_file_is_refused_with_the_files_name(bundle: Bundle, name: str) -> None:
    (bundle.folder / name).unlink()
    with pytest.raises(BundleError, match=name):
        read_bundle(bundle.folder)


def test_other_folders_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="neither a bundle nor a finished run"):
        read_bundle(tmp_path)
    (tmp_path / "spec.json").write_text("{}")
    with pytest.raises(BundleError, match="not finished"):
        read_bundle(tmp_path)
