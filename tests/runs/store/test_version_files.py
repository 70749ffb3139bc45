"""Versions of a data set on the disk: made, chosen, taken back; runs name theirs, and nothing is computed twice."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from tests.conftest import PictureFolder, lend
from tests.data.work import scene
from tests.runs.conftest import ended, read
from tests.runs.executors import InProcess, by
from tl_core import locks
from tl_core.data import pixel_arrays
from tl_core.data.split import assign
from tl_core.documents.manifest import Remedies
from tl_core.errors import DataError, DiskFull, DocumentError, InUse, LimitReached, NotFound, SpecError
from tl_core.runs.ingest_job import ingest_job
from tl_core.runs.start import jobs
from tl_core.runs.store import version_files
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import Workspace
from tl_core.runs.train_job import train_job
from tl_core.training.frozen import features as frozen

IN_PLACE = InProcess({"ingest": ingest_job, "train": train_job})


@pytest.fixture
def pets(workspace: Workspace, picture_folder: PictureFolder) -> DatasetFolder:
    return read(workspace, picture_folder({"cat": 8, "dog": 8}), IN_PLACE)


def _files(data: DatasetFolder) -> list[str]:
    return [image.file for image in data.manifest().images]


def test_remedies_become_a_version_and_the_old_one_stays(pets: DatasetFolder) -> None:
    read = pets.manifest()
    first, second = _files(pets)[:2]
    assert pets.versions.apply(Remedies(leave_out=(first,), move={second: "dog"})) == 2
    assert pets.number == 2
    assert pets.manifest().counts() == {"cat": 6, "dog": 9}
    assert pets.at(1).manifest() == read
    assert pets.versions.apply(Remedies(leave_out=(second,))) == 3
    assert pets.manifest().counts() == {"cat": 6, "dog": 8}
    assert [version.parent for version in pets.versions.made().values()] == [1, 2]
    assert all(pets.image(image).is_file() for image in read.images)


def test_undo_goes_back_and_what_follows_is_made_from_there(pets: DatasetFolder) -> None:
    files = _files(pets)
    pets.versions.apply(Remedies(leave_out=(files[0],)))
    pets.versions.choose(1)
    assert _files(pets) == files
    assert pets.versions.apply(Remedies(leave_out=(files[1],))) == 3
    assert _files(pets) == [files[0], *files[2:]]
    assert pets.versions.made()[3].parent == 1
    assert _files(pets.at(2)) == files[1:]
    with pytest.raises(NotFound, match="no version 7"):
        pets.versions.choose(7)


def test_what_waits_is_there_after_a_reload_and_gone_once_it_is_applied(pets: DatasetFolder) -> None:
    files = _files(pets)
    pets.versions.gather(Remedies(leave_out=(files[0],), keep=(files[1], "999999.jpg")))
    again = DatasetFolder(pets.path)
    assert again.versions.gathered() == Remedies(leave_out=(files[0],), keep=(files[1],))
    again.versions.apply(Remedies(leave_out=(files[0],)))
    assert pets.versions.gathered() == Remedies(keep=(files[1],))
    pets.versions.take_back()
    assert not (pets.path / "gathered.json").exists()


def test_decisions_of_two_sessions_are_both_kept(pets: DatasetFolder) -> None:
    files = _files(pets)
    one, other = DatasetFolder(pets.path).versions, DatasetFolder(pets.path).versions
    with ThreadPoolExecutor(8) as sessions:
        list(sessions.map(lambda file: (one if file < files[8] else other).gather(Remedies(keep=(file,))), files))
    assert set(pets.versions.gathered().keep) == set(files)
    one.take_back({files[0]})
    assert set(pets.versions.gathered().keep) == set(files[1:])


def test_a_refused_change_leaves_nothing(pets: DatasetFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="no picture 'x\\.jpg'"):
        pets.versions.apply(Remedies(leave_out=("x.jpg",)))
    monkeypatch.setattr(version_files, "_PATIENCE", 0.0)
    with locks.holding(pets.path / "versions_lock"), pytest.raises(InUse, match="Another session"):
        pets.versions.apply(Remedies(leave_out=(_files(pets)[0],)))
    assert (pets.number, pets.versions.made()) == (1, {})


def test_a_damaged_version_does_not_hide_the_others_and_its_number_is_not_taken_again(pets: DatasetFolder) -> None:
    files = _files(pets)
    pets.versions.apply(Remedies(leave_out=(files[0],)))
    pets.versions.apply(Remedies(leave_out=(files[1],)))
    pets.versions.choose(1)
    pets.versions.apply(Remedies(keep=(files[2],)))
    folder = pets.path / "versions"
    (folder / "2.json").write_bytes(b'{"parent": 2, "created": 0, "remedies": {}}')
    for name in ("9" * 200, "5 copy", "1", "06"):
        (folder / f"{name}.json").write_bytes(b"x")
    assert pets.versions.made().keys() == {4}, "version 3 was made from the damaged one"
    for number in (2, 3):
        with pytest.raises(DocumentError, match=r"Version 2 of this data set is damaged.*back to version 1"):
            pets.at(number).manifest()
    assert pets.versions.apply(Remedies(leave_out=(files[3],))) == 5
    assert len(pets.origins()) == 2


def test_a_version_that_was_cut_off_before_it_was_the_current_one_changes_nothing_and_can_be_made_again(
    pets: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = _files(pets)
    wanted = Remedies(leave_out=(files[0],))
    pets.versions.gather(wanted)
    with monkeypatch.context() as patched:
        patched.setattr(version_files, "write_atomically", Mock(side_effect=DiskFull("No space is left.")))
        with pytest.raises(DiskFull):
            pets.versions.apply(wanted)
    assert (pets.number, _files(pets), pets.versions.gathered()) == (1, files, wanted)
    assert pets.versions.apply(wanted) == 3
    assert pets.versions.made()[3].parent == 1
    assert not pets.versions.gathered()


def test_the_number_of_versions_is_limited(pets: DatasetFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_files, "MOST", 2)
    files = _files(pets)
    pets.versions.apply(Remedies(leave_out=(files[0],)))
    with pytest.raises(LimitReached, match="has 2 versions"):
        pets.versions.apply(Remedies(leave_out=(files[1],)))
    assert pets.number == 2


def test_a_run_names_its_version_and_takes_pixels_and_features_from_the_one_before(
    workspace: Workspace,
    store: Path,
    exported: Callable[[int], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lend(exported(224), store / "cache")
    for number in range(24):
        path = tmp_path / "pictures" / ("cat" if number < 12 else "dog") / f"{number % 12:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        scene(number).save(path)
    data = read(workspace, tmp_path / "pictures", IN_PLACE)
    first = by(IN_PLACE, jobs.submit_training, workspace, data)
    assert (ended(first), first.spec().version) == ("succeeded", 1)
    learned = assign(data.manifest(), first.spec().seed).tolist().index("train")
    data.versions.apply(Remedies(leave_out=(_files(data)[learned],)))

    refuse = Mock(side_effect=DataError("A picture was decoded or run again."))
    monkeypatch.setattr(pixel_arrays, "read_copy", refuse)
    monkeypatch.setattr(frozen, "run_graph", refuse)
    second = by(IN_PLACE, jobs.submit_training, workspace, data)
    assert ended(second) == "succeeded", second.status()
    assert second.spec().version == 2
    assert second.report().test.images == first.report().test.images
    assert len(second.out_of_fold().rows) == len(first.out_of_fold().rows) - 1
    assert sorted(len(np.load(path)) for path in (store / "cache" / "features").iterdir()) == [23, 24]

    data.versions.choose(1)
    assert workspace.dataset(data.id, second.spec().version).manifest().counts() == {"cat": 11, "dog": 12}
    for run in (first, second):
        run.delete()
    data.delete()
    assert not [*(store / "cache").glob("features/*"), *(store / "cache").glob("pixels/*")]


def test_pictures_are_added_to_a_version_with_what_was_left_out_and_moved_in_it(
    workspace: Workspace, pets: DatasetFolder, tmp_path: Path
) -> None:
    files = _files(pets)
    pets.versions.apply(Remedies(leave_out=(files[0],), move={files[1]: "dog"}, keep=(files[2],)))
    before, parts = pets.manifest(), assign(pets.manifest(), 4).tolist()
    more = tmp_path / "more"
    (more / "cat").mkdir(parents=True)
    for number in range(3):
        scene(number).save(more / "cat" / f"{number}.jpg")
    read(workspace, more, IN_PLACE, onto=pets)
    grown = pets.manifest()
    assert (pets.number, grown.counts(), len(grown.added)) == (3, {"cat": 9, "dog": 9}, 3)
    assert [image.file for image in grown.images[:15]] == [image.file for image in before.images]
    assert [image.file for image in grown.images if image.reviewed] == [files[1], files[2]]
    assert assign(grown, 4)[:15].tolist() == parts
    pets.versions.apply(Remedies(leave_out=(grown.images[-1].file,)))
    assert (pets.number, pets.manifest().counts()) == (4, {"cat": 8, "dog": 9})
    assert len(pets.origins()) == 4
    (pets.path / "versions" / "3-manifest.json").write_text("{")
    (pets.path / "versions" / "3.json").touch()
    with pytest.raises(DocumentError, match=r"Version 3 of this data set is damaged.*back to version 1"):
        pets.at(3).manifest()
