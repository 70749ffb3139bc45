"""The table of pages: a page is its file and its row, and what the row says is what a user sees."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.app import records
from tests.app.conftest import ROOT, Open, text
from tests.conftest import PATIENCE
from tl_core import locks
from tl_core.documents.events import Failure, Status
from tl_core.documents.tasks import FeatureMapsSpec, RankSpec
from tl_core.errors import SpecError
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from ui import live, places
from ui.places import COMPARE, DATA, EVALUATE, HOME, IDEAS, PLACES, PREDICT, TRAIN, Here, Place, Step, to_open
from ui.workspace import BUG

SWITCH = """
from ui import workspace
from ui.places import {name}
with workspace.page({name}) as here:
    workspace.st.caption("compared: " + here.run.name)
"""


def test_every_page_has_a_row_of_its_own() -> None:
    files = {"streamlit_app.py", *(f"pages/{page.name}" for page in (ROOT / "pages").glob("*.py"))}
    assert {place.file for place in PLACES.values()} == files
    assert len(PLACES) == len(files)
    line = list(PLACES.values())
    for number, place in enumerate(line):
        assert place.needs is None or any(place.needs in before.shows for before in line[:number]), place.name


def test_a_page_is_added_by_its_file_and_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is linked from every page, says what it misses and offers it, and has its tile on Home and its turn in the tour."""
    monkeypatch.syspath_prepend(str(ROOT))
    shutil.copy(ROOT / "streamlit_app.py", tmp_path)
    shutil.copytree(ROOT / "pages", tmp_path / "pages")
    (tmp_path / "pages" / "8_Share.py").write_text(SWITCH.format(name="SHARE"))
    row = Place(
        name="Share",
        file="pages/8_Share.py",
        icon=":material/share:",
        sentence="A run for others.",
        needs=RunFolder,
        without="There is nothing to share yet.",
        step=Step(title="Show others", promise="Two runs, one picture.", tour="Both saw the same pictures."),
    )
    monkeypatch.setattr(places, "SHARE", row, raising=False)
    monkeypatch.setitem(PLACES, row.name, row)
    app = AppTest.from_file(str(tmp_path / "streamlit_app.py"), default_timeout=PATIENCE)
    app.query_params["workspace"] = records.TOKEN
    app.run()
    assert "Show others" in text(app)
    assert row.name in [link.proto.label for link in app.get("page_link")]

    app.switch_page(row.file).run()
    assert app.title[0].value == "Share"
    assert {"A run for others.", "There is nothing to share yet."} <= set(text(app).splitlines())
    assert [button.label for button in app.button] == ["Bring pictures"]

    records.run(records.dataset())
    app.query_params["tour"] = "on"
    app.run()
    assert "compared: Crockery" in text(app)
    assert "**Show me, 5 of 5.** Both saw the same pictures." in text(app)


def test_without_a_run_evaluate_offers_to_train_one_and_then_to_watch_it(open_page: Open, data: DatasetFolder) -> None:
    app = open_page(EVALUATE.file, dataset=data.id)
    assert "no classifier has been trained here" in text(app)
    assert app.button(key="missing").label == "Train one"
    run = records.run(data, state="running")
    with locks.holding(run.lock):
        app = open_page(EVALUATE.file, run=run.id)
    assert "The classifier is still being trained." in text(app)
    assert app.button(key="missing").label == "See how far it is"


@pytest.mark.parametrize("place", [EVALUATE, PREDICT, COMPARE])
def test_a_page_says_how_far_the_training_is_also_where_its_address_does_not_name_the_run(
    place: Place, open_page: Open
) -> None:
    run = records.run(records.dataset(), state="running")
    with locks.holding(run.lock):
        app = open_page(place.file)
        assert "The classifier is still being trained." in text(app)
        (bar,) = app.get("progress")
        assert bar.proto.text == "Crockery: Fitting the head, 2 of 3, 144 pictures/s, 4\u202fs left"
        assert bar.proto.value == 66
        app.button(key="missing").click().run()
        assert app.title[0].value == "Train"
        assert app.query_params["run"] == run.id


@pytest.mark.parametrize("place", [EVALUATE, PREDICT], ids=lambda place: place.name)
def test_a_page_goes_on_by_itself_when_the_training_has_ended(open_page: Open, place: Place, run: RunFolder) -> None:
    ended = _begun_again(run)
    with locks.holding(run.lock):
        app = open_page(place.file, run=run.id)
        assert "right on 9 pictures" not in text(app)
    ended.write(run.path / "status.json")
    assert "right on 9 pictures" in text(app.run())
    assert not [button for button in app.button if button.key == f"on-{run.id}"], "it is shown already"


def test_what_ended_while_it_was_watched_leads_on_by_one_button(
    open_page: Open, data: DatasetFolder, run: RunFolder
) -> None:
    ended = _begun_again(run)
    with locks.holding(run.lock):
        app = open_page(DATA.file, dataset=data.id)
        assert f"on-{run.id}" not in {button.key for button in app.button}
    ended.write(run.path / "status.json")
    app.run()
    assert "**Crockery** is trained." in text(app)
    button = app.button(key=f"on-{run.id}")
    assert button.label == "See how good it is"
    button.click().run()
    assert app.title[0].value == "Evaluate"
    assert app.query_params["run"] == run.id


def test_what_ended_has_one_line_while_its_worker_lives_on_and_afterwards(
    open_page: Open, data: DatasetFolder, run: RunFolder
) -> None:
    ended = _begun_again(run)
    with locks.holding(run.lock):
        app = open_page(DATA.file, dataset=data.id)
        ended.write(run.path / "status.json")
        for _ in range(2):
            app.run()
            assert len([button for button in app.button if button.key == f"on-{run.id}"]) == 1
    assert len([button for button in app.run().button if button.key == f"on-{run.id}"]) == 1


@pytest.mark.parametrize(("error", "said"), [(SpecError("Ask the operator"), "Ask the operator"), (KeyError(), BUG)])
def test_what_goes_wrong_before_the_body_of_a_page_is_one_sentence(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    app = open_page(TRAIN.file)

    def fail(here: Here) -> None:
        raise error

    monkeypatch.setattr(live, "others", fail)
    app.run()
    assert [one.value for one in app.error] == [said]


def test_what_came_to_nothing_leads_to_where_it_says_why(open_page: Open) -> None:
    run = records.run(records.dataset(), state="failed", failure=Failure(kind="bug", message="It broke.", exit_code=1))
    failed = _begun_again(run)
    with locks.holding(run.lock):
        app = open_page(HOME.file)
    failed.write(run.path / "status.json")
    assert "**Crockery** did not come to its end." in text(app.run())
    app.button(key=f"on-{run.id}").click().run()
    assert app.title[0].value == "Train"
    assert "It broke" in text(app)


def test_train_says_that_its_pictures_are_being_read(open_page: Open, data: DatasetFolder) -> None:
    data.manifest_file.unlink()
    records._end(data.path, Status(state="running", started=1.0))
    with locks.holding(data.lock):
        app = open_page(TRAIN.file, dataset=data.id)
        assert "The pictures are still being read." in text(app)
        assert len(app.get("progress")) == 1
        assert app.button(key="missing").label == "See how far it is"


def test_evaluate_of_a_run_at_work_says_that_it_speaks_of_another_one(open_page: Open, data: DatasetFolder) -> None:
    records.run(data)
    again = records.run(data, name="Again", state="running")
    with locks.holding(again.lock):
        said = text(open_page(EVALUATE.file, run=again.id))
    assert "Again is still being trained" in said
    assert "right on 9 pictures" in said


def _begun_again(run: RunFolder) -> Status:
    """Write that `run` is at work; the status with which it had ended."""
    ended = run.status()
    records._end(run.path, Status(state="running", started=1.0))
    return ended


def test_a_run_whose_pictures_are_gone_is_still_shown_on_train(
    open_page: Open, data: DatasetFolder, run: RunFolder
) -> None:
    data.delete()
    app = open_page(TRAIN.file, run=run.id)
    assert "right on 9 pictures" in text(app)
    assert app.button(key="missing").label == "Bring pictures"


def test_the_job_line_speaks_of_what_the_page_does_not_show(data: DatasetFolder) -> None:
    where = records.workspace()
    run, other = records.run(data), records.run(data)
    mine = {"workspace": where.token, "dataset": data.id}
    rank = records.asked(RankSpec(**mine, backbones=("resnet18",)))
    look = records.asked(FeatureMapsSpec(**mine, row=0, backbone="resnet18", weights="ImageNet", image_size=224))
    jobs = {"data": data, "run": run, "other": other, "rank": rank, "look": look}
    shown = {
        place.name: {name for name, job in jobs.items() if Here(where, data, run, place).shows(job)}
        for place in (DATA, TRAIN, EVALUATE, IDEAS)
    }
    assert shown == {"Data": {"data"}, "Train": {"run", "rank"}, "Evaluate": set(), "Ideas": {"rank"}}


def test_train_one_beside_a_run_that_failed_opens_its_pictures_alone(open_page: Open, data: DatasetFolder) -> None:
    failed = records.run(data, state="failed")
    app = open_page(EVALUATE.file, run=failed.id)
    app.button(key="missing").click().run()
    assert app.title[0].value == "Train"
    assert app.query_params["dataset"] == data.id
    assert "run" not in app.query_params


def _job(identifier: str, on: str = "") -> Any:
    return SimpleNamespace(id=identifier, spec=lambda: SimpleNamespace(dataset=on))


NEWEST, OLDER, GONE = _job("newest"), _job("older"), _job("gone")
SETS = {"newest": NEWEST, "older": OLDER}
ON_NEWEST, ON_OLDER, ON_GONE, RACE = _job("1", "newest"), _job("2", "older"), _job("3", "gone"), _job("4", "older")


@pytest.mark.parametrize(
    ("asked", "finished", "any_run", "dataset", "run"),
    [
        ({}, [], False, NEWEST, None),
        ({}, [ON_OLDER, ON_NEWEST], False, OLDER, ON_OLDER),
        ({}, [ON_GONE], False, NEWEST, ON_GONE),
        ({"dataset": OLDER}, [ON_NEWEST, ON_OLDER], False, OLDER, ON_OLDER),
        ({"dataset": OLDER}, [ON_NEWEST], False, OLDER, None),
        ({"dataset": OLDER}, [ON_NEWEST], True, NEWEST, ON_NEWEST),
        ({"dataset": OLDER}, [ON_GONE], True, OLDER, ON_GONE),
        ({"run": ON_OLDER}, [], False, OLDER, ON_OLDER),
        ({"run": ON_GONE}, [], False, NEWEST, ON_GONE),
        ({"dataset": NEWEST, "run": ON_OLDER}, [], False, NEWEST, ON_OLDER),
        ({"race": RACE}, [ON_NEWEST, ON_OLDER], False, OLDER, ON_OLDER),
        ({"race": RACE}, [ON_NEWEST], False, OLDER, None),
        ({"dataset": NEWEST, "race": RACE}, [ON_NEWEST], True, OLDER, ON_NEWEST),
        ({"run": ON_NEWEST, "race": RACE}, [], False, NEWEST, ON_NEWEST),
    ],
)
def test_what_a_page_opens(asked: dict[str, Any], finished: Any, any_run: bool, dataset: object, run: object) -> None:
    opened = to_open(finished, NEWEST, lambda job: SETS.get(job.spec().dataset), any_run=any_run, **asked)
    assert opened == (dataset, run)
