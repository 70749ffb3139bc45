"""Decisions about single pictures on the Data page, and the versions that they make."""

import pytest
from streamlit.testing.v1 import AppTest

from tests.app import records
from tests.app.conftest import Open, press, text, unfolded
from tl_core.disk import remove
from tl_core.documents.manifest import Manifest, Remedies
from tl_core.runs.store.folders import DatasetFolder, RunFolder

DATA = "pages/1_Data.py"


@pytest.fixture
def twins() -> DatasetFolder:
    """A data set in which one picture is in two classes, and three show the same thing."""
    data = records.dataset()
    manifest = data.manifest()
    images = list(manifest.images)
    images[25] = images[25].model_copy(update={"sha256": images[0].sha256})
    for row in (1, 2, 3):
        images[row] = images[row].model_copy(update={"group": 0, "width": images[row].width + (row == 2)})
    fields = {name: getattr(manifest, name) for name in Manifest.model_fields}
    Manifest(**fields | {"images": tuple(images), "grouped": True}).write(data.manifest_file)
    return data


def _decide(app: AppTest, row: int, choice: str | None) -> None:
    next(box for box in app.selectbox if box.label.startswith(f"What to do with picture {row + 1},")).set_value(choice)
    app.run()


def test_what_is_decided_waits_through_a_reload_and_is_applied_together(open_page: Open, twins: DatasetFolder) -> None:
    app = unfolded(open_page, twins, "two_labels")
    _decide(app, 25, "Move to cup")
    _decide(app, 0, "Leave out")
    again = open_page(DATA, dataset=twins.id)
    assert "not applied yet: 1 left out, 1 moved to cup" in text(again)
    files = [image.file for image in twins.manifest().images]
    assert twins.versions.gathered() == Remedies(leave_out=(files[0],), move={files[25]: "cup"})
    press(again, "Apply 2 changes")
    assert twins.number == 2
    assert twins.manifest().counts() == {"cup": 20, "plate": 19, "bowl": 20}
    assert not any("in two classes at once" in box.label for box in again.expander)
    assert not any(button.label.startswith("Apply") for button in again.button)


def test_a_decision_is_taken_back(open_page: Open, twins: DatasetFolder) -> None:
    app = unfolded(open_page, twins, "two_labels")
    _decide(app, 0, "Leave out")
    _decide(app, 0, None)
    assert not twins.versions.gathered()
    _decide(app, 0, "Keep")
    press(app, "Forget these")
    assert not twins.versions.gathered()


def test_of_near_copies_the_largest_stays_with_one_click(open_page: Open, twins: DatasetFolder) -> None:
    app = unfolded(open_page, twins, "near_copy")
    press(app, "Leave out 2: all but one of each group")
    files = [image.file for image in twins.manifest().images]
    assert set(twins.versions.gathered().leave_out) == {files[1], files[3]}


def test_pictures_that_are_kept_are_found_no_more(open_page: Open, twins: DatasetFolder) -> None:
    app = unfolded(open_page, twins, "near_copy")
    press(app, "Keep them all")
    press(app, "Apply 3 changes")
    assert not any("show the same thing" in box.label for box in app.expander)
    assert len(twins.manifest().images) == 60


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("version", b"7", "has no version 7"),
        ("version", b"\xff\x00", "holds no number of a version"),
        ("versions/2.json", b'{"parent": 2, "created": 0, "remedies": {}}', "cannot be made from version 2"),
        ("versions/2.json", b"half of", "Version 2 of this data set is damaged"),
        ("gathered.json", b"{", "gathered.json is not a valid"),
    ],
)
def test_a_damaged_version_is_told_and_the_first_one_opens(
    open_page: Open, twins: DatasetFolder, file: str, content: bytes, said: str
) -> None:
    twins.versions.apply(Remedies(leave_out=(twins.manifest().images[0].file,)))
    (twins.path / file).write_bytes(content)
    home = open_page("streamlit_app.py")
    assert not home.error, "other data sets can still be opened"
    app = open_page(DATA, dataset=twins.id)
    assert said in app.error[0].value.replace("\\", "")
    app.button(key=f"read-{twins.id}").click().run()
    assert not app.error
    assert twins.number == 1
    assert "60 pictures in 3 classes" in text(app)


def test_undo_goes_back_and_another_version_is_chosen(open_page: Open, twins: DatasetFolder) -> None:
    files = [image.file for image in twins.manifest().images]
    twins.versions.apply(Remedies(leave_out=(files[0],)))
    app = open_page(DATA, dataset=twins.id)
    assert "59 pictures in 3 classes" in text(app)
    press(app, "Undo")
    assert (twins.number, "60 pictures in 3 classes" in text(app)) == (1, True)
    assert not any(button.label == "Undo" for button in app.button)
    app.selectbox(key=f"version-{twins.id}").set_value(2)
    app.run()
    assert twins.number == 2


def test_a_refusal_is_said_on_the_page(open_page: Open, twins: DatasetFolder) -> None:
    everything = tuple(image.file for image in twins.manifest().images)
    twins.versions.gather(Remedies(leave_out=everything))
    app = open_page(DATA, dataset=twins.id)
    press(app, "Apply 60 changes")
    assert "Every picture would be left out" in app.error[0].value
    assert twins.number == 1
    assert len(twins.versions.gathered()) == 60


def test_a_version_that_the_budget_has_no_room_for_is_refused(
    open_page: Open, twins: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins.versions.gather(Remedies(leave_out=(twins.manifest().images[0].file,)))
    app = open_page(DATA, dataset=twins.id)
    monkeypatch.setenv("GRAFT_WORKSPACE_GB", "0.00001")
    press(app, "Apply 1 change")
    assert "This workspace takes" in app.error[0].value
    assert twins.number == 1


def test_pages_say_which_version_a_run_learned_from(open_page: Open, data: DatasetFolder, run: RunFolder) -> None:
    assert "version" not in text(open_page("pages/3_Evaluate.py", run=run.id, dataset=data.id))
    data.versions.apply(Remedies(leave_out=(data.manifest().images[0].file,)))
    said = text(open_page("pages/3_Evaluate.py", run=run.id, dataset=data.id))
    assert "It learned from version 1 of Crockery; version 2 is open now" in said
    assert "Version 2" in text(open_page("pages/2_Train.py", dataset=data.id))
    assert "of the data" not in text(open_page())
    second = records.run(data)
    second.write_spec(second.spec().model_copy(update={"version": 2}))
    assert text(open_page()).count("version 2 of the data set") == 1
    app = open_page("pages/3_Evaluate.py", run=second.id)
    assert [option.endswith("version 2 of the data set") for option in app.selectbox[0].options] == [True, False]
    assert "Runs on different versions of the data set were judged on different pictures" in text(
        open_page("pages/6_Ideas.py", dataset=data.id)
    )


def test_a_decision_about_a_data_set_that_was_deleted_meanwhile_does_not_bring_it_back(
    open_page: Open, twins: DatasetFolder
) -> None:
    twins.versions.apply(Remedies(leave_out=(twins.manifest().images[9].file,)))
    app = unfolded(open_page, twins, "two_labels")
    undo = open_page(DATA, dataset=twins.id)
    remove(twins.path)
    _decide(app, 0, "Leave out")
    press(undo, "Undo")
    assert not twins.path.exists()


def test_before_changes_are_applied_that_leave_too_few_pictures_to_train_on_the_page_warns(
    open_page: Open, twins: DatasetFolder
) -> None:
    cups = [image.file for image in twins.manifest().images if image.label == 0]
    twins.versions.gather(Remedies(leave_out=tuple(cups[:5])))
    assert "no training could start" not in text(open_page(DATA, dataset=twins.id))
    twins.versions.gather(Remedies(leave_out=tuple(cups[:18])))
    (said,) = [warning.value for warning in open_page(DATA, dataset=twins.id).warning]
    assert said.startswith("With these changes no training could start. Each class needs 5 different pictures")
