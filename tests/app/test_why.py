"""The dialog that says why: the evidence for a class, what hiding a part does, and the most similar pictures."""

import shutil

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.app import records
from tests.app.conftest import Open, press, text
from tests.app.test_predict import bring, red
from tests.serving.conftest import bundle, graph
from tl_core.disk import remove
from tl_core.documents.arrays import Embeddings
from tl_core.documents.tasks import BROUGHT, ClassEvidence, EvidenceSpec, PictureEvidence
from tl_core.runs.store.folders import RunFolder
from tl_core.serving.bundle import Bundle, read_info
from tl_core.serving.bundle_files import INFO
from ui import asking

__all__ = ["bundle", "graph"]


@pytest.fixture
def run(bundle: Bundle) -> RunFolder:
    """A run with a classifier that tells red, green and blue apart."""
    made = records.run(records.dataset())
    shutil.copytree(bundle.folder, made.bundle, dirs_exist_ok=True)
    return made


def selected(app: AppTest) -> list[str]:
    return list(next(box for box in app.selectbox if box.label == "Evidence for").options)


def test_a_mistake_on_evaluate_is_explained_and_stays_open_when_the_page_runs_again(
    open_page: Open, run: RunFolder
) -> None:
    app = open_page("pages/3_Evaluate.py", run=run.id)
    assert "similar pictures" not in text(app)
    app = press(app, "Why?").run()
    assert any("its answer" in option for option in selected(app))
    assert any("true" in option for option in selected(app))
    said = text(app)
    assert "It is not a proof" in said
    assert "with this hidden" in said
    assert "is not kept yet" in said, "the embeddings of the training pictures"


def test_the_most_similar_pictures_are_those_that_were_learned_from(open_page: Open, run: RunFolder) -> None:
    tested = {answer.row for answer in run.report().answers}
    rows = np.arange(60)
    # The test pictures would be the nearest of all.
    vectors = np.array([[1, 1, 1] if row in tested else [1, 0.02 * row, 0] for row in rows])
    Embeddings.of(rows, vectors).write(run.embeddings_file)
    app = press(open_page("pages/3_Evaluate.py", run=run.id), "Why?")
    near = app.session_state["why"].look.near
    assert len(near) == 5
    assert not tested & {row for row, _ in near}
    assert "is not kept yet" not in text(app)


def test_a_picture_that_was_brought_is_explained_after_its_data_set_is_gone(open_page: Open, run: RunFolder) -> None:
    remove(records.workspace().path / "datasets")
    app = press(bring(open_page("pages/4_Predict.py", run=run.id), red()), "Why?")
    assert selected(app)[0].startswith("red, ")
    assert "**99.9" in text(app)
    assert "The data set was deleted" in text(app)
    assert app.session_state["why"].look.evidence[0].shape == (8, 8)


def test_hiding_all_cells_of_the_grid_hides_what_decides(open_page: Open, run: RunFolder) -> None:
    app = press(open_page("pages/3_Evaluate.py", run=run.id), "Why?")
    cells = next(pills for pills in app.get("button_group") if "Hide parts" in pills.label)
    app = cells.set_value(["A1", "B1"]).run()
    assert ("A1", "B1", "") in app.session_state["why"].look.hidden
    cells = next(pills for pills in app.get("button_group") if "Hide parts" in pills.label)
    assert "with this hidden" not in text(cells.set_value([]).run())


def test_other_networks_take_a_job_which_gets_the_picture_in_a_file_of_its_own(
    open_page: Open, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = read_info(run.bundle / INFO).model_copy(update={"linear_on_pooled": False})
    info.write(run.bundle / INFO)
    put: list[EvidenceSpec] = []
    monkeypatch.setattr(asking, "ask", lambda workspace, spec: put.append(spec))
    app = press(bring(open_page("pages/4_Predict.py", run=run.id), red()), "Why?")
    button = next(each for each in app.button if each.label == "Look for the evidence")
    app = button.click().run()
    (spec,) = put
    where = records.workspace()
    assert spec.row is None
    assert (where.path / "staging" / str(spec.brought) / BROUGHT).read_bytes() == app.session_state["why"].given

    positions = ((0.0, 0.0), (0.0, 1.0))
    classes = tuple(ClassEvidence(label=label, positions=positions) for label in spec.classes)
    records.asked(spec, PictureEvidence(classes=classes))
    app.run()
    assert "It is not a proof" in text(app)
    assert "Look for the evidence" not in [each.label for each in app.button]
