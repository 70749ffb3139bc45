"""A version of a data set, and a copy of a folder, in which pictures are left out or lie in another class; and what a finding comes to."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PATIENCE
from tests.data.test_split import balanced, manifest
from tl_core.data import sources
from tl_core.data.checks import findings
from tl_core.data.remedying import applied, kept, planned, proposed, write_copy
from tl_core.data.split import assign, split_counts
from tl_core.documents.base import MANY_PROBLEMS
from tl_core.documents.manifest import Manifest, Remedies, Split, Suspicion
from tl_core.documents.spec import ClassesFrom
from tl_core.errors import DocumentError, SpecError


def folder(root: Path, *names: str) -> Path:
    """Files called `names`, each of which holds its name; nothing of a picture is needed to copy it."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def copied(source: Path, remedies: Remedies, into: Path, classes: ClassesFrom = "first") -> dict[str, str]:
    """What was in each file of the copy before, by the file's name in the copy."""
    files = sources.walk(source)
    write_copy(planned(files, sources.layout_of(files, classes), remedies), into)
    return {str(path.relative_to(into)): path.read_text() for path in into.rglob("*") if path.is_file()}


def test_files_are_left_out_moved_and_otherwise_as_they_were(tmp_path: Path) -> None:
    source = folder(tmp_path / "p", "cat/1.jpg", "cat/2.jpg", "cat/3.jpg", "dog/1.jpg", "dog/notes.txt", "list.csv")
    remedies = Remedies(leave_out=("cat/2.jpg", "dog/notes.txt"), move={"cat/3.jpg": "dog"}, keep=("cat/1.jpg",))
    assert copied(source, remedies, tmp_path / "out") == {
        "cat/1.jpg": "cat/1.jpg",
        "dog/1.jpg": "dog/1.jpg",
        "dog/3.jpg": "cat/3.jpg",
        "list.csv": "list.csv",
    }
    assert (tmp_path / "out/cat/1.jpg").stat().st_mtime_ns == (source / "cat/1.jpg").stat().st_mtime_ns
    assert not (tmp_path / "out/cat/1.jpg").samefile(source / "cat/1.jpg")


@pytest.mark.parametrize(
    ("classes", "move", "expected"),
    [
        ("first", {"a/1.jpg": "b", "c/1.jpg": "b"}, {"b/1.jpg": "b/1.jpg", "b/1 (2).jpg": "b/1 (2).jpg", "b/1 (3).jpg": "a/1.jpg", "b/1 (4).jpg": "c/1.jpg"}),
        ("first", {"a/1.jpg": "b", "b/1.jpg": "a"}, {"a/1.jpg": "b/1.jpg", "b/1.jpg": "a/1.jpg"}),
        ("first", {"test/a/2.jpg": "b"}, {"train/a/1.jpg": "train/a/1.jpg", "train/b/1.jpg": "train/b/1.jpg", "test/b/2.jpg": "test/a/2.jpg", "test/a/3.jpg": "test/a/3.jpg"}),
        ("first", {"a/may/1.jpg": "b"}, {"b/may/1.jpg": "a/may/1.jpg", "b/june/2.jpg": "b/june/2.jpg"}),
        ("innermost", {"a/may/1.jpg": "june"}, {"b/june/1.jpg": "a/may/1.jpg", "b/june/2.jpg": "b/june/2.jpg"}),
    ],
    ids=["names that are taken", "a name of one that left", "the user's own split", "deeper folders", "innermost classes"],
)  # fmt: skip
def test_a_moved_picture_gets_a_place_of_its_own_in_its_class(
    tmp_path: Path, classes: ClassesFrom, move: dict[str, str], expected: dict[str, str]
) -> None:
    source = folder(tmp_path / "p", *expected.values())
    assert copied(source, Remedies(move=move), tmp_path / "out", classes) == expected


def test_all_that_is_not_there_is_named_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    source = folder(tmp_path / "p", "cat/1.jpg", "dog/1.jpg", "dog/notes.txt")
    remedies = Remedies(leave_out=("cat/9.jpg",), move={"cat/1.jpg": "hen", "dog/notes.txt": "cat"}, keep=("8.jpg",))
    with pytest.raises(SpecError) as raised:
        copied(source, remedies, tmp_path / "out")
    for word in ("'cat/9.jpg', '8.jpg'", "'dog/notes.txt'", "class 'hen'", "'cat', 'dog'"):
        assert word in raised.value.message
    assert not (tmp_path / "out").exists()


def test_of_very_many_files_that_are_not_there_some_are_named(tmp_path: Path) -> None:
    source = folder(tmp_path / "p", "cat/1.jpg", "dog/1.jpg")
    names = tuple(f"{number}.jpg" for number in range(MANY_PROBLEMS + 2))
    with pytest.raises(SpecError, match=rf"'{MANY_PROBLEMS - 1}\.jpg' and 2 more\."):
        copied(source, Remedies(leave_out=names), tmp_path / "out")
    with pytest.raises(SpecError, match=rf"'{MANY_PROBLEMS - 1}\.jpg'\. Name files"):
        copied(source, Remedies(leave_out=names[:MANY_PROBLEMS]), tmp_path / "out")


@pytest.mark.parametrize("parts", [("..", "1.jpg"), ("cat", "a/b.jpg"), ("cat", ".."), ("", "1.jpg")])
def test_a_name_that_leads_out_of_the_copy_is_refused(tmp_path: Path, parts: tuple[str, ...]) -> None:
    given = folder(tmp_path / "p", "1.jpg") / "1.jpg"
    with pytest.raises(SpecError, match="no folder can hold"):
        write_copy([(given, ("cat", "1.jpg")), (given, parts)], tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"p"}


def test_a_file_has_one_remedy(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"leave_out": ["cat/1.jpg"], "move": {"cat/1.jpg": "dog"}}')
    with pytest.raises(DocumentError, match=r"more than one of leave_out, move and keep: cat/1\.jpg"):
        Remedies.read(tmp_path / "r.json")


@pytest.mark.parametrize("there", [True, False])
def test_a_copy_whose_process_is_killed_does_not_appear_and_what_is_left_goes_with_the_next_one(
    tmp_path: Path, there: bool
) -> None:
    source = folder(tmp_path / "p", *(f"{name}/{number}.jpg" for name in ("cat", "dog") for number in range(4)))
    out = tmp_path / "out"
    if there:
        out.mkdir()
    code = f"""
import os, shutil, signal
from pathlib import Path
from tl_core.data import remedying
files, really = [], shutil.copy2
def copy(path, target):
    really(path, target)
    files.append(path)
    if len(files) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
remedying.shutil.copy2 = copy
files_of = sorted(path for path in Path({str(source)!r}).rglob("*.jpg"))
remedying.write_copy([(path, path.parts[-2:]) for path in files_of], Path({str(out)!r}))
"""
    killed = subprocess.run([sys.executable, "-c", code], timeout=PATIENCE, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (list(out.iterdir()) if there else out.exists()) in ([], False)
    (left,) = tmp_path.glob(".out.*")
    os.utime(left, (0, 0))
    copied(source, Remedies(), out)
    assert sum(path.is_file() for path in out.rglob("*")) == 8
    assert {path.name for path in tmp_path.iterdir()} == {"p", "out"}


def test_pictures_are_left_out_and_moved_and_the_others_stay_in_their_order() -> None:
    data = manifest(balanced(3, 10))
    found = applied(data, Remedies(leave_out=("3.jpg", "29.jpg"), move={"0.jpg": "class 2"}, keep=("5.jpg",)))
    assert [image.file for image in found.images] == [f"{row}.jpg" for row in range(29) if row != 3]
    assert found.counts() == {"class 0": 8, "class 1": 10, "class 2": 10}
    assert found.images[0].label == 2
    assert [image.file for image in found.images if image.reviewed] == ["0.jpg", "5.jpg"]
    assert found.content != data.content
    assert data.counts() == {"class 0": 10, "class 1": 10, "class 2": 10}
    assert "parent" not in found.model_dump_json()


def test_a_class_without_pictures_is_one_no_longer() -> None:
    data = manifest(balanced(3, 6))
    found = applied(data, Remedies(move={f"{row}.jpg": "class 2" for row in range(6, 12)}))
    assert found.classes == ("class 0", "class 2")
    assert found.counts() == {"class 0": 6, "class 2": 12}
    assert found.content == data.content


@pytest.mark.parametrize(
    ("remedies", "said"),
    [
        (Remedies(leave_out=("99.jpg",)), "no picture '99.jpg'"),
        (Remedies(move={"0.jpg": "horse"}), "no class 'horse'. The classes are 'class 0', 'class 1'"),
        (Remedies(leave_out=tuple(f"{row}.jpg" for row in range(12))), "Every picture would be left out"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(remedies: Remedies, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        applied(manifest(balanced(2, 6)), remedies)


def test_a_version_of_a_version_knows_its_rows_in_both() -> None:
    data = manifest(balanced(2, 6))
    second = applied(data, Remedies(leave_out=("1.jpg",), keep=("4.jpg",)))
    third = applied(second, Remedies(leave_out=("0.jpg",), move={"3.jpg": "class 1"}))
    (before, rows), (read, first_rows) = third.ancestors()
    assert before is second
    assert read is data
    assert [second.images[row].file for row in rows] == [image.file for image in third.images]
    assert [data.images[row].file for row in first_rows] == [image.file for image in third.images]
    assert [image.file for image in third.images if image.reviewed] == ["3.jpg", "4.jpg"]
    assert not third.added


@pytest.mark.parametrize("seed", range(3))
def test_pictures_stay_in_the_parts_that_they_were_in(seed: int) -> None:
    data = manifest(balanced(3, 40))
    found = applied(data, Remedies(leave_out=("1.jpg", "50.jpg"), move={"2.jpg": "class 1"}))
    part = dict(zip((image.file for image in data.images), assign(data, seed), strict=True))
    assert [part[image.file] for image in found.images] == assign(found, seed).tolist()


def test_a_class_that_would_miss_a_part_is_cut_again() -> None:
    data = manifest(balanced(2, 30))
    tested = [
        image.file
        for image, part in zip(data.images, assign(data, 0), strict=True)
        if part == "test" and image.label == 1
    ]
    found = applied(data, Remedies(leave_out=tuple(tested)))
    assert min(split_counts(found, assign(found, 0))["class 1"].values()) >= 1


def test_the_users_own_parts_stay() -> None:
    data = manifest(balanced(2, 10, "train") + balanced(2, 3, "test", start=500))
    found = applied(data, Remedies(move={"20.jpg": "class 1"}, leave_out=("0.jpg",)))
    parts = dict(zip((image.file for image in found.images), assign(found, 0), strict=True))
    assert {parts[f"{row}.jpg"] for row in range(20, 26)} == {"test"}
    assert "test" not in {parts[f"{row}.jpg"] for row in range(1, 20)}


def test_a_class_of_five_is_in_every_part_of_a_version() -> None:
    data = manifest(balanced(2, 20))
    tested = {image.file for image, part in zip(data.images, assign(data, 0), strict=True) if part == "test"}
    cats = [image.file for image in data.images if image.label == 0]
    kept = [file for file in cats if file not in tested][:5]
    found = applied(data, Remedies(leave_out=tuple(file for file in cats if file not in kept)))
    assert split_counts(found, assign(found, 0))["class 0"] == {"train": 3, "val": 1, "test": 1}


@pytest.mark.parametrize("parts", [("train", "test"), ("train", "val"), ("train", "val", "test")])
def test_a_part_of_the_users_own_that_is_emptied_is_made_again(parts: tuple[Split, ...]) -> None:
    data = manifest([row for at, part in enumerate(parts) for row in balanced(2, 20, part, start=100 * at)])
    for emptied in ({part} for part in parts[1:]):
        found = applied(data, Remedies(leave_out=tuple(image.file for image in data.images if image.split in emptied)))
        counts = split_counts(found, assign(found, 0))
        assert all(min(of_class.values()) >= 1 for of_class in counts.values()), (emptied, counts)
    alone = applied(data, Remedies(leave_out=tuple(image.file for image in data.images if image.split != "train")))
    assert not alone.own_splits
    assert split_counts(alone, assign(alone, 0))["class 1"] == {"train": 14, "val": 3, "test": 3}


def test_what_the_user_keeps_is_found_no_more() -> None:
    data = manifest([*balanced(2, 30), (1, "0", None)])
    two = next(finding for finding in findings(data) if finding.kind == "two_labels")
    files = [data.images[row].file for row in two.rows]
    assert files == ["0.jpg", "60.jpg"]
    kept = applied(data, Remedies(keep=tuple(files)))
    assert "two_labels" not in {finding.kind for finding in findings(kept)}
    assert "two_labels" in {finding.kind for finding in findings(applied(data, Remedies(keep=("0.jpg",))))}


def test_later_remedies_take_the_place_of_earlier_ones() -> None:
    first = Remedies(leave_out=("a", "b"), move={"c": "x"}, keep=("d",))
    assert first.then(Remedies(leave_out=("c",), move={"a": "y"}, keep=("b",))) == Remedies(
        leave_out=("c",), move={"a": "y"}, keep=("d", "b")
    )
    assert len(first) == 4
    assert first.without({"a", "c", "d"}) == Remedies(leave_out=("b",))


SUSPICION = Suspicion(label="class 0", suggested="class 1", label_probability=0.01, suggested_probability=0.9)


def _with(data: Manifest, **changes: dict[int, object]) -> Manifest:
    """`data` with fields of single images changed."""
    images = [
        image.model_copy(update={field: of[row] for field, of in changes.items() if row in of})
        for row, image in enumerate(data.images)
    ]
    return Manifest(name="m", created=0, source="s", classes=data.classes, images=tuple(images), grouped=True)


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        (
            "near_copy",
            _with(manifest(balanced(2, 20)), group={3: 0, 4: 0, 5: 0, 30: 1, 31: 1}, width={4: 20, 5: 20}),
            Remedies(leave_out=("3.jpg", "5.jpg", "31.jpg")),
        ),
        (
            "copy_across_splits",
            manifest([*balanced(2, 20, "train"), *balanced(2, 20, "test")]),
            Remedies(leave_out=tuple(f"{row}.jpg" for row in range(40, 80))),
        ),
        (
            "suspect_label",
            _with(manifest(balanced(2, 20)), suspicion={7: SUSPICION}),
            Remedies(move={"7.jpg": "class 1"}),
        ),
        ("two_labels", manifest([*balanced(2, 20), (1, "0", None)]), Remedies()),
    ],
)
def test_the_largest_of_a_group_stays_and_what_is_learned_from_and_what_has_to_be_looked_at(
    kind: str, data: Manifest, expected: Remedies
) -> None:
    (finding,) = (finding for finding in findings(data) if finding.kind == kind)
    assert proposed(data, finding) == expected
    assert set(kept(data, finding).keep) == {data.images[row].file for row in finding.rows}
