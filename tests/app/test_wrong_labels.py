"""Labels that may be wrong, on the Data page."""

from __future__ import annotations

from tests.app import records
from tests.app.conftest import Open, text
from tl_core.documents.learning_curve import Growth
from tl_core.documents.questions import LabelReview, LabelReviewSpec
from tl_core.documents.suspect_label import SuspectLabel
from tl_core.runs.store.folders import QuestionFolder
from tl_core.runs.store.store import new_id

DATA = "pages/1_Data.py"


def _reviewed(dataset: str, review: LabelReview) -> None:
    folder = QuestionFolder(records.workspace().path / QuestionFolder.stored_in / new_id())
    folder.path.mkdir(parents=True)
    folder.write_spec(LabelReviewSpec(workspace=records.TOKEN, dataset=dataset))
    review.write(folder.result_file)
    records._end(folder.path, records.Status(state="succeeded", started=1.0, ended=2.0))


def test_suspect_labels_and_what_more_pictures_bring_are_shown(open_page: Open) -> None:
    data = records.dataset(records.workspace(), classes=("cup", "plate"))
    assert open_page(DATA, dataset=data.id).button(key="review-labels").label == "Look for wrong labels"
    growth = Growth(sizes=(10, 20), accuracies=(0.7, 0.84), twice=0.91, interval=(0.88, 0.93), photograph=0)
    suspect = SuspectLabel(row=3, label=0, suggested=1, label_probability=0.01, suggested_probability=0.97)
    _reviewed(data.id, LabelReview(accuracy=0.84, suspects=(suspect,), growth=growth))
    app = open_page(DATA, dataset=data.id)
    assert not app.exception
    assert any(box.label.startswith("1 label may be wrong") for box in app.expander)
    said = text(app)
    captions = [picture.caption for element in app.get("image") for picture in element.proto.imgs]
    assert "labelled **cup**; others suggest **plate**, 97\u202f%" in captions
    assert "right in 84\u202f% now; with twice as many pictures of every class: 91\u202f% (88 to 93\u202f%)" in said
    assert "The class to photograph is **cup**" in said


def test_clean_labels_are_said_to_be_clean_and_no_class_is_named_without_reason(open_page: Open) -> None:
    data = records.dataset(records.workspace())
    growth = Growth(sizes=(10, 20), accuracies=(0.7, 1.0), twice=1.0, interval=(0.96, 1.0), photograph=None)
    _reviewed(data.id, LabelReview(accuracy=1.0, suspects=(), growth=growth))
    said = text(open_page(DATA, dataset=data.id))
    assert "No label looks wrong" in said
    assert "class to photograph" not in said
