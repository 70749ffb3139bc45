"""What the Data page says of a data set: each finding with its pictures or files, a new check without a new line of the page."""

from pathlib import Path

import pytest

from tests.app import records
from tests.app.conftest import Open, text, unfolded
from tests.conftest import PictureFolder
from tests.data.work import add_nearly_black, black, finish, spec
from tl_core.data import checks
from tl_core.data.checks import Check, Finding
from tl_core.data.ingest import ingest
from tl_core.documents.manifest import Suspicion
from tl_core.runs.store.folders import DatasetFolder


def read_again(data: DatasetFolder, source: Path, staging: Path) -> None:
    """Replace what `data` holds by the pictures in `source`."""
    finish(ingest(spec(source), data.path, staging=staging))


@pytest.mark.usefixtures("decoded_here")
def test_a_check_that_is_added_as_one_row_is_told_on_the_data_page(
    open_page: Open, picture_folder: PictureFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: DatasetFolder
) -> None:
    add_nearly_black(monkeypatch)
    source = picture_folder({"cat": 20, "dog": 20})
    black(source / "cat" / "night.jpg")
    read_again(data, source, tmp_path / "staging")
    app = open_page("pages/1_Data.py", dataset=data.id)
    assert "can hardly be seen" in text(app)
    assert any("hardly be seen" in box.label for box in app.expander)


def test_what_keeps_a_run_from_starting_is_a_warning_and_closes_the_way_on(open_page: Open) -> None:
    data = records.dataset(each=3)
    app = open_page("pages/1_Data.py", dataset=data.id)
    assert "Each class needs 5 different pictures" in app.warning[0].value.replace("\\", "")
    (button,) = [button for button in app.button if button.label == "Train on these"]
    assert button.disabled


def test_a_check_that_finds_several_things_is_told_each_of_them(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = Check(
        kind="twice", find=lambda manifest: iter([Finding(message=f"{row} is odd.", rows=(row,)) for row in range(30)])
    )
    monkeypatch.setitem(checks.CHECKS, twice.kind, twice)
    app = open_page("pages/1_Data.py", dataset=records.dataset().id)
    assert "29 is odd" in text(app)


def test_each_suspect_label_is_shown_with_the_class_that_was_answered(open_page: Open) -> None:
    data = records.dataset(classes=("cup", "plate"))
    manifest = data.manifest()
    wrong = Suspicion(label="cup", suggested="plate", label_probability=0.01, suggested_probability=0.97)
    images = (manifest.images[0].model_copy(update={"suspicion": wrong}), *manifest.images[1:])
    manifest.model_copy(update={"images": images}).write(data.manifest_file)
    app = unfolded(open_page, data, "suspect_label")
    assert any(box.label.startswith("1 label may be wrong") for box in app.expander)
    assert "Review the labels beside similar pictures" in [button.label for button in app.button]
    captions = [picture.caption for element in app.get("image") for picture in element.proto.imgs]
    assert "labelled 'cup', answered 'plate' (97%)" in [caption.replace("\\", "") for caption in captions]


def test_pictures_beside_the_cut_through_a_class_of_one_moment_are_counted(open_page: Open) -> None:
    data = records.dataset(classes=("cup", "plate"))
    manifest = data.manifest()
    images = tuple(image.model_copy(update={"group": 0}) if image.label == 0 else image for image in manifest.images)
    manifest.model_copy(update={"images": images, "grouped": True}).write(data.manifest_file)
    assert "2 pictures beside the cut through a class of one moment are in none of them." in text(
        open_page("pages/1_Data.py", dataset=data.id)
    )
