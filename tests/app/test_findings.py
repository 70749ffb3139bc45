"""What the Data page says of a data set: each finding with its pictures or files, and the labels that may be wrong."""

from pathlib import Path

import pytest

from tests.app import records
from tests.app.conftest import Open, press, text, unfolded
from tests.conftest import PictureFolder
from tests.data.work import add_nearly_black, black, finish, spec
from tl_core.data import checks
from tl_core.data.checks import Check, Finding
from tl_core.data.ingest import ingest
from tl_core.documents.manifest import Remedies, Suspicion
from tl_core.documents.report import Growth, Lookalikes, SuspectLabel
from tl_core.documents.tasks import LabelReview, LabelReviewSpec
from tl_core.runs.store.folders import DatasetFolder

DATA = "pages/1_Data.py"
SUSPECTS = (
    SuspectLabel(row=3, label=0, suggested=1, label_probability=0.01, suggested_probability=0.97),
    SuspectLabel(row=25, label=1, suggested=0, label_probability=0.02, suggested_probability=0.9),
)
LOOKALIKES = (
    Lookalikes(of_label=(4, 5, 6), of_suggested=(21, 22, 23)),
    Lookalikes(of_label=(26, 27, 28), of_suggested=(1, 2)),
)
GROWTH = Growth(sizes=(10, 20), accuracies=(0.7, 0.84), twice=0.91, interval=(0.88, 0.93), photograph=0)
REVIEW = LabelReview(accuracy=0.84, suspects=SUSPECTS, lookalikes=LOOKALIKES, growth=GROWTH)


def _reviewed(dataset: str, review: LabelReview = REVIEW, *, version: int = 1) -> None:
    records.asked(LabelReviewSpec(workspace=records.TOKEN, dataset=dataset, version=version), review)


@pytest.mark.usefixtures("decoded_here")
def test_a_check_that_is_added_as_one_row_is_told_on_the_data_page(
    open_page: Open, picture_folder: PictureFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: DatasetFolder
) -> None:
    add_nearly_black(monkeypatch)
    source = picture_folder({"cat": 20, "dog": 20})
    black(source / "cat" / "night.jpg")
    finish(ingest(spec(source), data.path, staging=tmp_path / "staging"))
    app = open_page(DATA, dataset=data.id)
    assert "can hardly be seen" in text(app)
    assert any("hardly be seen" in box.label for box in app.expander)


def test_what_keeps_a_run_from_starting_is_a_warning_and_closes_the_way_on(open_page: Open) -> None:
    data = records.dataset(each=3)
    app = open_page(DATA, dataset=data.id)
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
    app = open_page(DATA, dataset=records.dataset().id)
    assert "29 is odd" in text(app)


def test_each_suspect_label_is_shown_with_the_class_that_was_answered(open_page: Open, data: DatasetFolder) -> None:
    manifest = data.manifest()
    wrong = Suspicion(label="cup", suggested="plate", label_probability=0.01, suggested_probability=0.97)
    images = (manifest.images[0].model_copy(update={"suspicion": wrong}), *manifest.images[1:])
    manifest.model_copy(update={"images": images}).write(data.manifest_file)
    app = unfolded(open_page, data, "suspect_label")
    assert any(box.label.startswith("1 label may be wrong") for box in app.expander)
    assert "Review the labels beside similar pictures" in [button.label for button in app.button]
    captions = [picture.caption for element in app.get("image") for picture in element.proto.imgs]
    assert "labelled 'cup', answered 'plate' (97%)" in [caption.replace("\\", "") for caption in captions]


def test_pictures_beside_the_cut_through_a_class_of_one_moment_are_counted(
    open_page: Open, data: DatasetFolder
) -> None:
    manifest = data.manifest()
    images = tuple(image.model_copy(update={"group": 0}) if image.label == 0 else image for image in manifest.images)
    manifest.model_copy(update={"images": images, "grouped": True}).write(data.manifest_file)
    assert "2 pictures beside the cut through a class of one moment are in none of them." in text(
        open_page(DATA, dataset=data.id)
    )


def test_suspect_labels_and_what_more_pictures_bring_are_shown(open_page: Open, data: DatasetFolder) -> None:
    assert open_page(DATA, dataset=data.id).button(key="review-labels").label == "Look for wrong labels"
    _reviewed(data.id)
    app = open_page(DATA, dataset=data.id)
    assert any(box.label.startswith("2 labels may be wrong") for box in app.expander)
    said = text(app)
    assert "Labelled **cup**, which has a probability of 1\u202f%" in said
    assert "suggest **plate**, 97\u202f%" in said
    assert "right in 84\u202f% now; with twice as many pictures of every class: 91\u202f% (88 to 93\u202f%)" in said
    assert "The class to photograph is **cup**" in said


def test_decisions_are_kept_and_the_next_open_one_comes(open_page: Open, data: DatasetFolder) -> None:
    files = [data.manifest().images[suspect.row].file for suspect in SUSPECTS]
    _reviewed(data.id)
    app = open_page(DATA, dataset=data.id)
    shortcuts = {button.label: button.proto.shortcut for button in app.button if button.proto.shortcut}
    assert shortcuts == {
        "Keep as cup": "k",
        "Move to plate": "m",
        "Leave out": "x",
        "Previous": "left",
        "Next": "right",
    }
    press(app, "Move to plate")
    assert data.versions.gathered() == Remedies(move={files[0]: "plate"})
    assert "Keep as plate" in [button.label for button in app.button], "the other suspect"
    assert [button.label for button in app.button if "-look-" in str(button.key)] == ["to plate", "undecided"]
    press(app, "Leave out")
    assert data.versions.gathered() == Remedies(move={files[0]: "plate"}, leave_out=(files[1],))
    reloaded = open_page(DATA, dataset=data.id)
    assert [bar.proto.text for bar in reloaded.get("progress")] == ["2 of 2 pictures decided"]
    press(reloaded, "Move to plate")
    assert data.versions.gathered() == Remedies(leave_out=(files[1],)), "once more takes it back"
    (box,) = [box for box in reloaded.selectbox if box.label == "Class to move to"]
    box.select(2).run()
    press(reloaded, "Move to bowl")
    assert data.versions.gathered() == Remedies(leave_out=(files[1],), move={files[0]: "bowl"})
    press(reloaded, "Next")
    press(reloaded, "Keep as plate")
    assert data.versions.gathered() == Remedies(keep=(files[1],), move={files[0]: "bowl"})
    reloaded.button(key=f"apply-reviewed-{data.id}").click().run()
    assert (data.number, data.manifest().classes[data.manifest().images[3].label]) == (2, "bowl")


def test_a_picture_that_was_kept_is_suspected_no_more(open_page: Open, data: DatasetFolder) -> None:
    files = [data.manifest().images[suspect.row].file for suspect in SUSPECTS]
    data.versions.apply(Remedies(keep=(files[0],)))
    _reviewed(data.id, version=2)
    app = open_page(DATA, dataset=data.id)
    assert any(box.label.startswith("1 label may be wrong") for box in app.expander)
    assert "Keep as plate" in [button.label for button in app.button]


def test_clean_labels_are_said_to_be_clean_and_no_class_is_named_without_reason(
    open_page: Open, data: DatasetFolder
) -> None:
    growth = Growth(sizes=(10, 20), accuracies=(0.7, 1.0), twice=1.0, interval=(0.96, 1.0), photograph=None)
    _reviewed(data.id, LabelReview(accuracy=1.0, suspects=(), lookalikes=(), growth=growth))
    said = text(open_page(DATA, dataset=data.id))
    assert "No label looks wrong" in said
    assert "class to photograph" not in said
