"""`check` as a user meets it: what would be taken, what is found and what mends it, as text and as JSON."""

import json
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.cli.conftest import Terminal, Trained
from tests.conftest import PictureFolder
from tests.data.work import add_nearly_black, black, ingested
from tl_core.cli import main
from tl_core.cli.check import MOST_FILES
from tl_core.documents.events import Event
from tl_core.documents.manifest import Manifest
from tl_core.runs import grouping


def test_check_says_what_would_be_taken_and_keeps_nothing(trained: Trained, store: Path, terminal: Terminal) -> None:
    found = terminal.json("check", str(trained.data))
    assert set(found) == {"classes", "images", "refused", "passed_over", "groups", "given_groups", "findings"}
    assert found["images"] == 60
    assert found["groups"] is None, "they were not looked for"
    assert set(found["classes"]) == {"apple", "<b>Birne", "Kirsche"}
    assert all(set(counts) == {"train", "val", "test"} for counts in found["classes"].values())
    assert sum(sum(counts.values()) for counts in found["classes"].values()) == 60
    (refusal,) = found["refused"]
    assert set(refusal) == {"file", "kind", "message"}
    assert refusal["file"].endswith("broken.jpg")
    assert not store.exists()


def test_without_features_no_pictures_are_compared(
    picture_folder: PictureFolder, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_FIND_GROUPS", "true")
    done: list[str] = []

    def looked(folder: Path, manifest: Manifest) -> Generator[Event, None, Manifest]:
        yield from ()
        done.append("pictures")
        return manifest

    monkeypatch.setattr(grouping, "with_groups", looked)
    assert main(["check", str(picture_folder({"cat": 8, "dog": 8})), "--json"]) == 0
    assert done == ["pictures"]
    assert main(["check", str(picture_folder({"cat": 8, "dog": 8})), "--json", "--no-features"]) == 0
    assert done == ["pictures"]


def test_check_takes_groups_that_the_user_gives_and_says_what_is_wrong_with_them(
    picture_folder: PictureFolder, tmp_path: Path, terminal: Terminal
) -> None:
    data, table = picture_folder({"cat": 8, "dog": 8}), tmp_path / "patients.csv"
    table.write_text("file,group\n" + "".join(f"cat/{number:03}.jpg,one\n" for number in range(8)))
    found = terminal.json("check", str(data), "--groups", str(table), "--no-features")
    assert (found["given_groups"], found["groups"]) == (1, None)
    assert [finding["kind"] for finding in found["findings"] if finding["kind"] in ("one_moment", "near_copy")] == [
        "one_moment"
    ]
    table.write_text("file,group\n,one\n")
    assert "Line 2 of patients.csv names no file" in terminal.err("check", str(data), "--groups", str(table))
    assert "Give a CSV with the columns file and group" in terminal.err(
        "check", str(data), "--groups", str(tmp_path / "none.csv")
    )


def test_check_reads_a_zip_like_its_folder(trained: Trained, tmp_path: Path, terminal: Terminal) -> None:
    archive = shutil.make_archive(str(tmp_path / "data"), "zip", trained.data)
    zipped, folder = (terminal.json("check", source) for source in (archive, trained.data))
    assert zipped["classes"] == folder["classes"]
    assert len(zipped["refused"]) == 1


def test_check_says_in_either_form_what_would_stop_a_run(picture_folder: PictureFolder, terminal: Terminal) -> None:
    folder = picture_folder({"many": 8, "few": 4})
    shutil.copy(folder / "many" / "000.jpg", folder / "many" / "again.jpg")
    out, err = terminal.run(["check", str(folder), "--json"], 0)
    assert json.loads(out)["images"] == 12
    assert "Reading pictures" in err
    assert "'few' has 4" in err
    said = terminal.out("check", str(folder))
    assert "'few' has 4" in said
    assert "left out: 1" in said


def test_every_finding_is_in_the_json_with_its_files_and_its_remedy(
    picture_folder: PictureFolder, tmp_path: Path, terminal: Terminal
) -> None:
    for part, sizes in (("train", {"cat": 72, "dog": 6}), ("test", {"cat": 3, "dog": 3})):
        picture_folder(sizes, root=tmp_path / "p" / part)
    cats, dogs = tmp_path / "p" / "train" / "cat", tmp_path / "p" / "train" / "dog"
    shutil.copy(cats / "010.jpg", dogs / "cat.jpg")
    shutil.copy(cats / "011.jpg", cats / "again.jpg")
    (cats / "empty.jpg").touch()
    out, err = terminal.run(["check", str(tmp_path / "p"), "--json"], 0)
    found = json.loads(out)["findings"]
    assert all(set(finding) == {"kind", "files", "message", "remedy", "move_to"} for finding in found)
    remedies = {finding["kind"]: finding["remedy"] for finding in found}
    assert remedies == {
        "refused": None, "exact_copy": None, "two_labels": "move", "copy_across_splits": "leave_out",
        "small_class": "photograph", "imbalance": "photograph",
    }  # fmt: skip
    files = {finding["kind"]: finding["files"] for finding in found}
    assert files["exact_copy"] == ["train/cat/again.jpg"]
    assert set(files["two_labels"]) == {"train/cat/010.jpg", "train/dog/cat.jpg"}
    assert len(files["copy_across_splits"]) == 12
    assert "No classifier" not in err
    said = terminal.out("check", str(tmp_path / "p"))
    unwrapped = " ".join(said.split())
    assert all(" ".join(finding["message"].split()) in unwrapped for finding in found)
    assert "train/cat/empty.jpg: The file is empty." in said


@pytest.mark.usefixtures("decoded_here")
def test_a_check_that_is_added_as_one_row_is_told_in_both_forms(
    picture_folder: PictureFolder, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = picture_folder({"cat": 20, "dog": 20})
    black(folder / "cat" / "night.jpg")
    add_nearly_black(monkeypatch)
    found = terminal.json("check", str(folder))["findings"]
    assert [finding for finding in found if finding["kind"] == "nearly_black"] == [
        {
            "kind": "nearly_black",
            "files": ["cat/night.jpg"],
            "message": "1 of the pictures can hardly be seen. Take them again with more light.",
            "remedy": "photograph",
            "move_to": [],
        }
    ]
    said = terminal.out("check", str(folder))
    assert "Take them again with more light." in said
    assert "  cat/night.jpg" in said


def test_very_many_files_of_a_finding_are_cut_short_in_the_terminal(
    picture_folder: PictureFolder, terminal: Terminal
) -> None:
    folder = picture_folder({"cat": 20, "dog": 20})
    for number in range(MOST_FILES + 3):
        (folder / "cat" / f"empty{number:02}.jpg").touch()
    said = terminal.out("check", str(folder))
    assert said.count("  cat/empty") == MOST_FILES
    assert "and 3 more" in said


def test_remedies_are_applied_to_a_copy_that_check_then_finds_in_order(
    picture_folder: PictureFolder, tmp_path: Path, terminal: Terminal
) -> None:
    source = picture_folder({"cat": 21, "dog": 21})
    shutil.copy(source / "cat" / "000.jpg", source / "dog" / "cat.jpg")
    black(source / "cat" / "night.jpg")
    before = {path: path.read_bytes() for path in source.rglob("*.jpg")}
    remedies, out = tmp_path / "remedies.json", tmp_path / "mended"
    remedies.write_text(json.dumps({"leave_out": ["cat/night.jpg"], "move": {"dog/cat.jpg": "cat"}}))
    for data in (source, shutil.make_archive(str(tmp_path / "data"), "zip", source)):
        done = terminal.json("check", str(data), "--apply", str(remedies), "--out", str(out))
        assert done == {"out": str(out), "files": 43, "left_out": 1, "moved": 1}
        assert (out / "cat" / "cat.jpg").read_bytes() == before[source / "cat" / "000.jpg"]
        assert [finding["kind"] for finding in terminal.json("check", str(out))["findings"]] == ["exact_copy"]
        shutil.rmtree(out)
    assert {path: path.read_bytes() for path in source.rglob("*.jpg")} == before


def test_pictures_that_are_moved_keep_their_given_groups(
    picture_folder: PictureFolder, tmp_path: Path, terminal: Terminal
) -> None:
    source = picture_folder({"cat": 6, "dog": 6})
    remedies, out = tmp_path / "remedies.json", tmp_path / "mended"
    table = 'group;file;note\na;pets/cat/000.jpg;"sick; old"\na;cat\\001.jpg;\nb;cat/002.jpg;\nb;dog/000.jpg;\nb;hen/1.jpg;\n'
    (source / "groups.csv").write_text(table)
    asked = {"leave_out": ["dog/000.jpg"], "move": {"cat/000.jpg": "dog", "cat/001.jpg": "dog"}}
    remedies.write_text(json.dumps(asked))
    assert terminal.json("check", str(source), "--apply", str(remedies), "--out", str(out))["moved"] == 2
    read = {image.name: image.given_group for image in ingested(out, tmp_path / "d").images}
    assert {name: group for name, group in read.items() if group} == {
        "cat/002.jpg": "b",
        "dog/000.jpg": "a",
        "dog/001 (2).jpg": "a",
    }
    assert "sick; old" in (out / "groups.csv").read_text()
    assert (source / "groups.csv").read_text() == table
    shutil.rmtree(out)
    remedies.write_text('{"leave_out": ["cat/002.jpg"]}')
    assert main(["check", str(source), "--apply", str(remedies), "--out", str(out)]) == 0
    assert (out / "groups.csv").read_text() == table
    assert "Put the CSV beside" in terminal.err(
        "check", str(source), "--apply", str(remedies), "--out", str(out), "--groups", str(remedies)
    )


@pytest.mark.parametrize(
    ("out", "said"),
    [("full", "holds something already"), ("pictures/new", "lies in the folder that is copied"), (None, "give both")],
)
def test_a_copy_goes_to_a_folder_of_its_own(
    picture_folder: PictureFolder, tmp_path: Path, terminal: Terminal, out: str | None, said: str
) -> None:
    source = picture_folder({"cat": 2, "dog": 2})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    (tmp_path / "r.json").write_text('{"leave_out": ["cat/000.jpg"]}')
    given = ["--out", str(tmp_path / out)] if out else []
    assert said in terminal.err("check", str(source), "--apply", str(tmp_path / "r.json"), *given)
    assert "Is a directory" in terminal.err(
        "check", str(source), "--apply", str(source), "--out", str(tmp_path / "new")
    )
    assert len(list(tmp_path.rglob("*.jpg"))) == 4
