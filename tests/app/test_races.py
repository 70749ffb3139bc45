"""Races on the pages: the folded form, the leaderboard, the bar of running jobs, Home."""

import pytest
from streamlit.testing.v1 import AppTest

from tests.app import records
from tests.app.conftest import Open, text
from tests.runs.executors import KEEPING, Keeping
from tl_core import locks
from tl_core.documents.events import Failure, Status
from tl_core.documents.spec import Contestant, RaceSpec
from tl_core.runs.comparing import leaderboard
from tl_core.runs.start import races
from tl_core.runs.store.folders import DatasetFolder, RaceFolder, RunFolder
from tl_core.runs.store.store import new_id
from ui.places import TRAIN


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Keeping, "kept", [])


@pytest.fixture
def race(data: DatasetFolder) -> RaceFolder:
    """An interrupted race: two runs are done, one was stopped, one was not begun."""
    where = records.workspace()
    runs = {
        "partial_fine_tuning": records.run(data, strategy="partial_fine_tuning"),
        "feature_extraction": records.run(data),
        "full_fine_tuning": records.run(data, strategy="full_fine_tuning", state="cancelled"),
        "lp_ft": records.run(data, strategy="lp_ft", state="cancelled"),
    }
    folder = RaceFolder(where.path / RaceFolder.stored_in / new_id())
    folder.path.mkdir(parents=True)
    spec = RaceSpec(
        name="Crockery", workspace=where.token, dataset=data.id, seed=0, device="cpu", budget=600,
        contestants=tuple(
            Contestant(run=run.id, backbone="efficientnet_lite0", weights="ImageNet", strategy=name) for name, run in runs.items()
        ),
        val_images=9, val_draws=9, test_images=9,
    )  # fmt: skip
    folder.write_spec(spec)
    died = Failure(kind="worker_died", message="It was interrupted.", exit_code=1)
    Status(state="interrupted", started=1.0, ended=300.0, failure=died).write(folder.path / "status.json")
    for name, more in {
        "partial_fine_tuning": {"seconds": {"total": 120.0}},
        "full_fine_tuning": {"reason": "Stopped after epoch 3 of 5."},
        "lp_ft": {"reason": "Not begun: the time was up.", "started": None},
    }.items():
        status = runs[name].status()
        status.model_copy(update=more).write(runs[name].status_file)
    return folder


def _opened(open_page: Open, race: RaceFolder) -> AppTest:
    return open_page(TRAIN.file, race=race.id)


def _said(app: AppTest) -> str:
    """What the page says, as it is read: without the signs that keep names literal, and with plain spaces."""
    return text(app).replace("\\", "").replace("\u202f", " ")


def test_a_race_that_has_ended_shows_how_its_runs_stand_and_what_the_test_says(
    open_page: Open, race: RaceFolder
) -> None:
    app = _opened(open_page, race)
    said = _said(app)
    assert "**1. Head only**" in said, "of two alike the quicker one"
    assert "**2. Last stages**" in said
    assert "89 % right on validation pictures (57 to 98 %); 89 % on test pictures (57 to 98 %)" in said
    assert "Stopped after epoch 3 of 5." in said
    assert "70 % right on validation pictures at best" in said
    assert "Not begun: the time was up." in said
    assert (
        "Against “Last stages” on efficientnet_lite0: cannot tell with 9 pictures; both are right equally often."
        in said
    )
    labels = [button.label for button in app.button]
    assert (labels.count("Evaluate"), labels.count("Open")) == (2, 2)
    app.button(key="race-compare").click().run()
    assert app.title[0].value == "Compare"
    assert app.query_params["compare"] == ",".join(row.run for row in leaderboard(race).rows[:2])
    assert "right on 9 pictures it had never seen" not in said, "the run that was trained last is not shown beside it"


def test_beside_a_race_no_run_of_other_pictures_is_open(open_page: Open, race: RaceFolder) -> None:
    other = records.run(records.dataset(name="Other", classes=("x", "y")), name="Elsewhere")
    app = _opened(open_page, race)
    assert other.id not in str(app.query_params.get("run"))


def test_a_race_goes_on_from_its_page(open_page: Open, race: RaceFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    app = _opened(open_page, race)
    button = app.button(key="race-go-on")
    assert button.label == "Go on with 1 run that is missing"
    button.click().run()
    assert Keeping.kept == [race]
    assert [run.spec().strategy for run in race.parts() if run.waits_in == race.id] == ["lp_ft"]
    assert race.status().state == "queued"


def test_a_race_is_started_from_the_folded_form(
    open_page: Open, data: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    app = open_page(TRAIN.file, dataset=data.id)
    assert "start-race" not in {button.key for button in app.button}, "nothing is computed before it is opened"
    app.session_state["race-several"] = True
    app.run()
    assert app.multiselect(key="race-strategies-efficientnet_lite0").value == list(races.STRATEGIES)
    assert "5 runs, about" in text(app)
    app.multiselect(key="race-strategies-efficientnet_lite0").set_value(["lp_ft"]).run()
    assert app.button(key="start-race").disabled
    assert "A race is of 2 to 20 runs, and this would be 1." in _said(app)
    app.multiselect(key="race-strategies-efficientnet_lite0").set_value(["lp_ft", "feature_extraction"])
    app.slider(key="race-minutes").set_value(3)
    app.run()
    app.button(key="start-race").click().run()
    (found,) = records.workspace().races()
    assert Keeping.kept == [found]
    spec = found.spec()
    assert (spec.budget, [each.strategy for each in spec.contestants]) == (180, ["lp_ft", "feature_extraction"])
    assert [run.status().state for run in records.workspace().runs()] == ["queued", "queued"]
    assert app.query_params["race"] == found.id


def test_the_bar_of_running_jobs_has_one_line_for_a_race(open_page: Open, race: RaceFolder) -> None:
    (race.path / "status.json").unlink()
    waiting = RunFolder(race.parts()[3].path)
    (waiting.path / "status.json").unlink()
    waiting.submitted.write_bytes(b"race " + race.id.encode())
    with locks.holding(race.lock):
        app = open_page("streamlit_app.py")
    assert [button.key for button in app.button if str(button.key).startswith("cancel-")] == [f"cancel-{race.id}"]
    assert "4 runs within 10" in text(app)
    assert app.button(key=f"open-{race.id}").label == "Open"
