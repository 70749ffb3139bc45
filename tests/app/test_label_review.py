"""Labels that may be wrong, on the Data page."""

from tests.app import records
from tests.app.conftest import Open, press, text
from tl_core.documents.manifest import Remedies
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


def _reviewed(dataset: str, review: LabelReview, *, version: int = 1) -> None:
    records.asked(LabelReviewSpec(workspace=records.TOKEN, dataset=dataset, version=version), review)


def test_suspect_labels_and_what_more_pictures_bring_are_shown(open_page: Open) -> None:
    data = records.dataset(classes=("cup", "plate"))
    assert open_page(DATA, dataset=data.id).button(key="review-labels").label == "Look for wrong labels"
    growth = Growth(sizes=(10, 20), accuracies=(0.7, 0.84), twice=0.91, interval=(0.88, 0.93), photograph=0)
    _reviewed(data.id, LabelReview(accuracy=0.84, suspects=SUSPECTS, lookalikes=LOOKALIKES, growth=growth))
    app = open_page(DATA, dataset=data.id)
    assert any(box.label.startswith("2 labels may be wrong") for box in app.expander)
    said = text(app)
    assert "Labelled **cup**, which has a probability of 1\u202f%" in said
    assert "suggest **plate**, 97\u202f%" in said
    assert "right in 84\u202f% now; with twice as many pictures of every class: 91\u202f% (88 to 93\u202f%)" in said
    assert "The class to photograph is **cup**" in said


def test_decisions_are_kept_and_the_next_open_one_comes(open_page: Open) -> None:
    data = records.dataset(classes=("cup", "plate", "bowl"))
    files = [data.manifest().images[suspect.row].file for suspect in SUSPECTS]
    growth = Growth(sizes=(10, 20), accuracies=(0.7, 0.84), twice=0.91, interval=(0.88, 0.93), photograph=0)
    _reviewed(data.id, LabelReview(accuracy=0.84, suspects=SUSPECTS, lookalikes=LOOKALIKES, growth=growth))
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


def test_a_picture_that_was_kept_is_suspected_no_more(open_page: Open) -> None:
    data = records.dataset(classes=("cup", "plate"))
    files = [data.manifest().images[suspect.row].file for suspect in SUSPECTS]
    data.versions.apply(Remedies(keep=(files[0],)))
    growth = Growth(sizes=(10, 20), accuracies=(0.7, 0.84), twice=0.91, interval=(0.88, 0.93), photograph=0)
    _reviewed(data.id, LabelReview(accuracy=0.84, suspects=SUSPECTS, lookalikes=LOOKALIKES, growth=growth), version=2)
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
