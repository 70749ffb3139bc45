import hashlib
import importlib.util
import io
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import picture
from tests.data.work import finish
from tests.models.sites import Site, serving
from tests.soak.mutator import zipped
from tl_core.data.samples import (
    SAMPLES,
    Remote,
    Sample,
    best_here,
    keep_sample,
    kept,
    listing,
    smallest_photos,
    to_show,
    write_sample,
)
from tl_core.documents.events import Progress
from tl_core.errors import DataError, DownloadFailed, UnknownName
from tl_core.table import Table


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


def jpeg(label: int, index: int) -> bytes:
    buffer = io.BytesIO()
    picture(label, index).save(buffer, "JPEG")
    return buffer.getvalue()


def packed_tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("set/cat_a/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()


def remote(site: Site) -> Remote:
    """What the server has, as its publisher states it."""
    return Remote(url=f"{site.address}/file", md5=hashlib.md5(site.content).hexdigest(), megabytes=1)


def rows(site: Site, **fields: object) -> Table[Sample]:
    """A table whose only sample is in the archive that the server has."""
    given = {
        "name": "toy",
        "title": "Toy",
        "classes": 2,
        "images": 20,
        "licence": "none",
        "note": "A toy.",
        "archive": remote(site),
        "member": r"set/(?P<label>[a-z_]+)/[^/]+\.jpg",
    }
    return Table("sample", [Sample(**{**given, **fields})])


FILES = {
    f"set/{name}/{index}.jpg": jpeg(label, index)
    for label, name in enumerate(("cat_a", "dog_b"))
    for index in range(15)
}


def found(folder: Path) -> dict[str, int]:
    return dict(Counter(path.parent.name for path in folder.rglob("*.jpg")))


def test_a_download_is_checked_cut_down_evenly_and_always_the_same(tmp_path: Path, site: Site) -> None:
    site.content = packed_tar({**FILES, "set/readme.txt": b"x"})
    events, meta = finish(write_sample("toy", tmp_path / "one", rows=rows(site)))
    finish(write_sample("toy", tmp_path / "two", rows=rows(site)))
    assert found(tmp_path / "one") == {"cat a": 10, "dog b": 10}
    assert (meta.title, meta.licence, meta.note) == ("Toy", "none", "A toy.")
    assert any(isinstance(event, Progress) for event in events)
    one, two = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.jpg")}
        for name in ("one", "two")
    )
    assert one == two
    assert set(one.values()) <= set(FILES.values())
    assert {path.name for path in tmp_path.iterdir()} <= {"one", "two"}


def test_a_sample_from_a_zip_gets_its_display_names(tmp_path: Path, site: Site) -> None:
    site.content = zipped(FILES)
    names = {"cat_a": "Tench", "dog_b": "Church"}
    finish(write_sample("toy", tmp_path / "one", rows=rows(site, class_names=names)))
    assert found(tmp_path / "one") == {"Tench": 10, "Church": 10}


def test_classes_from_a_matlab_file(tmp_path: Path, site: Site) -> None:
    from scipy.io import savemat

    labels = io.BytesIO()
    savemat(labels, {"labels": np.array([1 + index % 2 for index in range(30)])})
    site.content = packed_tar({f"jpg/image_{index + 1:05}.jpg": jpeg(index % 2, index) for index in range(30)})
    with serving() as other:
        other.content = labels.getvalue()
        table = rows(
            site,
            member=r"jpg/image_(?P<label>\d{5})\.jpg",
            labels=remote(other),
            class_names={"1": "odd", "2": "even"},
        )
        finish(write_sample("toy", tmp_path / "one", rows=table))
    assert found(tmp_path / "one") == {"odd": 10, "even": 10}
    odd = {jpeg(0, index) for index in range(0, 30, 2)}
    assert all(path.read_bytes() in odd for path in (tmp_path / "one" / "odd").iterdir())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"status": 404}, "answered 404"),
        ({"content": b"other bytes"}, "does not have the hash"),
        ({"cut_after": 5_000, "ranges": False}, "stopped at"),
        ({"port": 9}, "Check the network"),
    ],
)
def test_a_failed_download_is_said_in_words_and_leaves_nothing(
    tmp_path: Path, site: Site, store: Path, wrong: dict[str, object], message: str
) -> None:
    site.content = b"x" * 9_999
    right = remote(site)
    for name, value in wrong.items():
        setattr(site, name, value)
    table = rows(site, archive=right.model_copy(update={"url": remote(site).url}))
    with pytest.raises(DownloadFailed, match=f"Toy could not be downloaded: .*{message}"):
        finish(keep_sample("toy", rows=table))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert list((store / "samples").iterdir()) == []


def test_an_archive_of_another_shape_is_said_in_words(tmp_path: Path, site: Site) -> None:
    site.content = packed_tar({"else/x.jpg": jpeg(0, 0)})
    with pytest.raises(DataError, match="not packed as it used to be"):
        finish(write_sample("toy", tmp_path / "one", rows=rows(site)))


def test_photographs_that_were_kept_are_shown_before_the_embedded_sample(store: Path) -> None:
    assert to_show().name == "tableware"
    assert to_show().here
    larger = max((row for row in SAMPLES.values() if row.photos and row.archive), key=lambda row: row.archive.megabytes)
    for row in (larger, smallest_photos()):
        kept(row.name).mkdir(parents=True)
        assert to_show() == row


def test_a_sample_that_was_kept_for_everybody_needs_no_network(tmp_path: Path, site: Site) -> None:
    site.content = packed_tar(FILES)
    table = rows(site, photos=True)
    assert smallest_photos(table).name == "toy"
    assert not table["toy"].here
    _, place = finish(keep_sample("toy", rows=table))
    site.status = 404
    assert place == kept("toy")
    assert table["toy"].how == "here now"
    assert [path.name for path in place.parent.iterdir()] == ["toy"]
    _, meta = finish(write_sample("toy", tmp_path / "one", rows=table))
    assert meta.title == "Toy"
    assert found(tmp_path / "one") == {"cat a": 10, "dog b": 10}
    assert finish(keep_sample("toy", rows=table)) == ([], place)


def test_tableware_has_fifty_small_pictures_of_each_of_six_kinds_and_no_two_alike(tmp_path: Path) -> None:
    _, meta = finish(write_sample("tableware", tmp_path / "one"))
    files = sorted((tmp_path / "one").rglob("*.jpg"))
    kinds = {"mug": 50, "bowl": 50, "bottle": 50, "wine glass": 50, "jug": 50, "vase": 50}
    assert Counter(file.parent.name for file in files) == kinds
    assert (meta.classes, meta.images) == (len(kinds), len(files))
    assert sum(file.stat().st_size for file in files) <= 3_000_000
    assert len({hashlib.sha256(file.read_bytes()).digest() for file in files}) == len(files)
    for file in files:
        with Image.open(file) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (256, 256), "RGB")
            assert np.asarray(image).std() > 10
    assert "CC0" in meta.licence
    assert "rendered" in meta.title


def test_digits_are_all_there_to_the_pixel(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    _, meta = finish(write_sample("digits", tmp_path / "one"))
    digits = load_digits()
    assert {path.name: len(list(path.iterdir())) for path in (tmp_path / "one").iterdir()} == {
        str(label): int((digits.target == label).sum()) for label in range(10)
    }
    first = np.asarray(Image.open(tmp_path / "one" / str(digits.target[7]) / "0007.png"))
    assert (first == np.round(digits.images[7] * 255 / 16)).all()
    assert meta.licence.startswith("CC BY 4.0")


@pytest.mark.skipif(
    importlib.util.find_spec("elpv_dataset") is None, reason="the optional package elpv-dataset is not here"
)
def test_solar_cells_are_functional_where_the_probability_is_zero(tmp_path: Path) -> None:
    _, meta = finish(write_sample("solar_cells", tmp_path / "one"))
    counted = {path.name: len(list(path.iterdir())) for path in (tmp_path / "one").iterdir()}
    assert counted == {"functional": 1508, "defective": 1116}
    assert "not for commercial use" in meta.licence
    assert "88.4 %" in meta.note


def test_a_missing_package_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "elpv_dataset" else there(name))
    with pytest.raises(DataError, match="pip install elpv-dataset"):
        finish(write_sample("solar_cells", tmp_path / "one"))
    assert [row.name for row in listing() if row.here] == ["tableware", "digits"]
    assert listing()[0].name == best_here() == "tableware"
    assert {info.name: info.how for info in listing()}["eurosat"] == "downloads 94 MB"


def test_an_unknown_sample_lists_the_valid_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"Choose one of: .*digits.*eurosat"):
        finish(write_sample("nonsense", tmp_path / "one"))


def test_addresses_and_hashes_are_those_of_torchvision() -> None:
    located = importlib.util.find_spec("torchvision")
    assert located is not None
    assert located.origin is not None
    folder = Path(located.origin).parent / "datasets"
    for name in ("flowers102", "oxford_iiit_pet", "eurosat", "dtd", "imagenette"):
        source = (folder / f"{name}.py").read_text()
        sample = SAMPLES[name]
        for remote in filter(None, (sample.archive, sample.labels)):
            assert remote.md5 in source, name
            assert remote.url in source or (
                remote.url.rsplit("/", 1)[0] + "/" in source and remote.url.rsplit("/", 1)[1] in source
            ), name
        assert len(sample.class_names) in (0, sample.classes)
        assert all(repr(display).strip("'\"") in source for display in sample.class_names.values())
