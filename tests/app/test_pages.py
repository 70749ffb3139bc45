"""What a user sees on each page, from records alone: no training runs here."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.app import records
from tests.app.conftest import Open, press, text
from tests.runs.executors import KEEPING, Keeping
from tl_core import locks
from tl_core.documents.events import Failure
from tl_core.documents.report import Accuracy, Leak
from tl_core.errors import InUse
from tl_core.runs.finished import kept_threshold
from tl_core.runs.process import devices
from tl_core.runs.process.executor import cancel
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Workspace
from tl_core.story.figures import MOST_CLASSES
from ui import actions
from ui.evaluate_page import results
from ui.places import EVALUATE, PLACES, PREDICT, TRAIN, Here
from ui.predict_page.answers import held_out
from ui.words import percent

PAGES = [place.file for place in PLACES.values()]


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_workspace_offers_the_step_that_is_missing(open_page: Open, page: str, store: Path) -> None:
    app = open_page(page)
    assert not app.error
    assert len(app.button) + len(app.file_uploader) > 0
    assert not (store / "workspaces").exists(), "looking around must not write anything"


def test_a_page_without_a_token_gets_one_and_keeps_it(open_page: Open) -> None:
    app = open_page(workspace=None)
    token = app.query_params["workspace"]
    assert len(str(token).strip("[]'")) == 32
    app.query_params.clear()
    app.run()
    assert app.query_params["workspace"] == token


@pytest.mark.parametrize("token", ["../../etc", "ABCDEF", "0" * 31, "g" * 32])
def test_a_malformed_token_opens_nothing(open_page: Open, token: str) -> None:
    app = open_page(workspace=token)
    assert "does not lead to a workspace" in app.error[0].value
    assert not app.title


def test_another_token_sees_nothing(open_page: Open, data: DatasetFolder) -> None:
    records.run(data)
    assert "Crockery" in text(open_page())
    for page in PAGES:
        app = open_page(page, workspace="f" * 32, dataset=data.id)
        assert "Crockery" not in text(app)


def test_home_lists_data_sets_and_runs(open_page: Open, data: DatasetFolder) -> None:
    records.run(data)
    said = text(open_page())
    assert "3 classes, 60 pictures" in said
    assert "right on 9 pictures it had never seen" in said


def test_the_data_page_shows_counts_refusals_and_leads_on(open_page: Open, data: DatasetFolder) -> None:
    app = open_page("pages/1_Data.py", dataset=data.id)
    assert "60 pictures in 3 classes." in text(app)
    assert "1 file is refused" in text(app)
    assert app.dataframe[0].value["Why"].tolist() == ["The file ends in the middle."]
    assert "Train on these" in [button.label for button in app.button]


def test_a_data_set_that_could_not_be_read_says_why(open_page: Open, data: DatasetFolder) -> None:
    records.Status(
        state="failed", failure=Failure(kind="layout", message=f"There are no pictures in {data.path}.", exit_code=2)
    ).write(data.path / "status.json")
    data.manifest_file.unlink()
    data.log_file.write_text(f"  File '{pytest.__file__}'\nThere are no pictures in {data.path}.\n")
    app = open_page("pages/1_Data.py", dataset=data.id)
    assert f"There are no pictures in …/datasets/{data.id}" in app.error[0].value.replace("\\", "")
    (log,) = [block.value for block in app.code if "no pictures" in block.value]
    assert log == f"  File '…/pytest/__init__.py'\nThere are no pictures in …/datasets/{data.id}."
    assert "How to bring pictures" in [control.label for control in app.segmented_control]


def test_train_is_decided_in_advance_and_names_its_reason(open_page: Open, data: DatasetFolder) -> None:
    app = open_page("pages/2_Train.py", dataset=data.id)
    assert app.selectbox(key="backbone").value == "efficientnet_lite0"
    assert app.button(key="choose-feature_extraction").label == "Chosen"
    said = text(app)
    assert "parameters will learn" in said
    assert "processor" in said or "GPU" in said
    app.button(key="choose-partial_fine_tuning").click().run()
    assert app.button(key="choose-partial_fine_tuning").label == "Chosen"


@pytest.mark.parametrize("strategy", ["feature_extraction", "partial_fine_tuning"])
def test_a_finished_run_leads_on_to_evaluate(open_page: Open, strategy: str, data: DatasetFolder) -> None:
    run = records.run(data, strategy=strategy)
    app = open_page("pages/2_Train.py", run=run.id)
    assert "right on 9 pictures" in text(app)
    assert app.button(key="to-evaluate").label == "Evaluate"


def test_a_run_that_its_executor_lost_is_interrupted_on_the_page_and_can_be_deleted(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    where = records.workspace()
    run = jobs.submit_training(where, records.dataset(), name="Lost")
    assert run.status().state == "queued"
    Keeping.kept.clear()
    app = open_page("pages/2_Train.py", run=run.id)
    assert run.status().state == "interrupted"
    assert where.live() == [], "it does not count as one of the jobs at work"
    assert "It was interrupted" in text(app.run())
    run.delete()


def test_a_run_that_waits_for_a_gpu_elsewhere_says_what_it_is_expected_to_be(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "detect_device", lambda: "cpu")
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    where = records.workspace()
    run = jobs.submit_training(where, records.dataset(), device="cuda")
    said = text(open_page("pages/2_Train.py", run=run.id))
    assert re.search(r"Expected: “.*” on .*GPU", said)
    cancel(run)


def test_a_failed_run_shows_its_sentence_and_log(open_page: Open, data: DatasetFolder) -> None:
    failure = Failure(kind="disk_full", message="The disk is full. Free some space and start again.", exit_code=2)
    run = records.run(data, state="failed", failure=failure)
    app = open_page("pages/2_Train.py", run=run.id)
    assert "The disk is full" in app.error[0].value.replace("\\", "")
    assert "stage training" in app.code[0].value


def test_evaluate_opens_on_the_worst_cell_and_the_boxes_choose_another(open_page: Open, run: RunFolder) -> None:
    app = open_page("pages/3_Evaluate.py", run=run.id)
    truth, said = app.selectbox(key=f"truth-{run.id}"), app.selectbox(key=f"said-{run.id}")
    assert truth.value != said.value
    assert "1 picture of" in text(app)
    said.select(truth.value).run()
    assert "and rightly called that" in text(app)
    assert app.dataframe[0].value["Pictures"].sum() == 9


def test_no_name_in_a_table_that_is_downloaded_begins_as_a_formula_does(open_page: Open) -> None:
    names = ('=HYPERLINK("http://x")', "+1", "-1", "@SUM(A1)", "\t=1", "plain")
    run = records.run(records.dataset(classes=names, each=6))
    table = open_page("pages/3_Evaluate.py", run=run.id).dataframe[0].value
    assert table["Class"].tolist() == [f"'{name}" for name in names[:-1]] + ["plain"]


def test_evaluate_says_the_cross_validated_accuracy_first_where_it_is_the_headline(
    open_page: Open, run: RunFolder
) -> None:
    report = run.report()
    whole = report.test.model_copy(update={"images": 60, "accuracy": 0.75, "interval": (0.63, 0.84)})
    report.model_copy(update={"cross_validated": whole, "headline": "cross_validated"}).write(run.report_file)
    app = open_page("pages/3_Evaluate.py", run=run.id)
    said = app.header[0].value.replace("\u202f", " ")
    assert said == "75 % right on 60 pictures, cross-validated (63 to 84 %)"
    assert "The test pictures alone: 89" in text(app)


def test_evaluate_tells_a_leak_with_its_count_and_the_accuracy_without_it(open_page: Open, run: RunFolder) -> None:
    report = run.report()
    without = Accuracy(images=5, accuracy=0.8, interval=(0.4, 0.96))
    report.model_copy(update={"leak": Leak(images=4, without=without)}).write(run.report_file)
    app = open_page("pages/3_Evaluate.py", run=run.id)
    (said,) = [warning.value.replace("\u202f", " ") for warning in app.warning]
    assert said.startswith("Some test pictures are like ones that it learned from")
    assert said.endswith(r"Without them: 80 % right on 5 pictures (40 to 96 %)\.")
    for page in (app, open_page()):
        assert "it had never seen" not in text(page)
        assert "right on 9 pictures, 4 of them like ones that it learned from" in text(page)


def test_held_out_pictures_are_those_that_the_run_was_judged_on(
    open_page: Open, data: DatasetFolder, run: RunFolder
) -> None:
    report = run.report()
    report.model_copy(update={"answers": report.answers[:2]}).write(run.report_file)
    names = {data.manifest().images[answer.row].name for answer in report.answers[:2]}
    assert {image.name for image in held_out(run, data)} == names


def test_a_run_with_a_class_of_one_moment_has_no_headline_on_any_page(
    open_page: Open, data: DatasetFolder, run: RunFolder
) -> None:
    report = run.report()
    report.model_copy(update={"headline": None, "one_moment": ("cup", "*bowl*")}).write(run.report_file)
    said = "All of one moment: record cup and \\*bowl\\* again elsewhere"
    app = open_page("pages/3_Evaluate.py", run=run.id)
    assert app.header[0].value == said
    assert "They say little about other pictures" in text(app)
    for page in ("streamlit_app.py", "pages/2_Train.py"):
        app = open_page(page, run=run.id)
        assert said in text(app)
        assert "it had never seen" not in text(app)
    app = open_page("pages/6_Ideas.py", dataset=data.id)
    assert "1 run on these pictures cannot be compared" in text(app)
    other = records.run(data)
    app = open_page("pages/3_Evaluate.py", run=other.id)
    assert any("all of one moment" in option for option in app.selectbox[0].options)


def test_evaluate_counts_what_is_right_when_unsure_answers_are_withheld(open_page: Open, run: RunFolder) -> None:
    answers = run.report().answers
    for number, answer in enumerate(answers):
        wrong = answer.predicted != answer.truth
        unsure = answer.model_copy(update={"probability": 0.6 if wrong or number == len(answers) - 1 else 0.97})
        answers = (*answers[:number], unsure, *answers[number + 1 :])
    run.report().model_copy(update={"answers": answers}).write(run.path / "report.json")
    app = open_page("pages/3_Evaluate.py", run=run.id)
    assert f"{len(answers) - 2} of {len(answers)} test pictures; {len(answers) - 2} are right" in text(app)
    app.slider(key=f"threshold-{run.id}").set_value(50).run()
    assert f"{len(answers)} of {len(answers)} test pictures; {len(answers) - 1} are right" in text(app)
    app.slider(key=f"threshold-{run.id}").set_value(99).run()
    assert "No answer is 99\u202f% sure or more" in text(app)


def test_a_threshold_is_kept_in_the_bundle_and_taken_out_by_a_press(open_page: Open, run: RunFolder) -> None:
    app = open_page("pages/3_Evaluate.py", run=run.id)
    app.slider(key=f"threshold-{run.id}").set_value(80).run()
    app.button(key=f"keep-threshold-{run.id}").click().run()
    assert kept_threshold(run) == 0.8
    assert "The bundle has 80\u202f%: answers below that are “not sure”" in text(app)
    assert app.button(key=f"keep-threshold-{run.id}").disabled
    app.button(key=f"clear-threshold-{run.id}").click().run()
    assert kept_threshold(run) is None
    assert "The bundle has" not in text(app)


def test_evaluate_goes_on_without_the_pictures(open_page: Open, data: DatasetFolder, run: RunFolder) -> None:
    data.delete()
    app = open_page("pages/3_Evaluate.py", run=run.id)
    assert "The data set was deleted" in text(app)


def test_a_renamed_data_set_shows_its_new_name(open_page: Open, data: DatasetFolder) -> None:
    data.rename("Plates & <b>cups</b>")
    said = text(open_page())
    assert r"Plates \& \<b\>cups\<\/b\>" in said
    assert "Crockery" not in said


def test_what_a_run_needs_is_not_deleted_and_why_is_said(open_page: Open, data: DatasetFolder) -> None:
    held = data.hold()

    def script(folder: str) -> None:
        from pathlib import Path

        from tl_core.runs.store.folders import DatasetFolder
        from ui import actions

        actions._confirm("Delete it", DatasetFolder(Path(folder)).delete)

    app = press(AppTest.from_function(script, args=(str(data.path),)).run(), "Delete it")
    locks.release([held])
    assert "A job that has not ended needs" in app.error[0].value
    assert data.manifest().name == "Crockery"


def test_a_draft_in_the_address_is_a_name_and_nothing_else(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "someone/graft")
    records.dataset()
    app = open_page(draft="</script><script>alert(1)</script>")
    assert "draft" not in app.query_params
    assert "alert" not in " ".join(str(element.proto) for element in app.get("html"))


def test_another_run_opens_its_own_data_set(open_page: Open) -> None:
    where = records.workspace()
    cups, leaves = records.dataset(name="Crockery"), records.dataset(name="Leaves")
    failed = records.run(cups, name="Broken", state="failed")
    here = Here(where, leaves, None, TRAIN)
    assert here.query(run=failed.id)["run"] == failed.id
    app = open_page(
        "pages/2_Train.py", **{name: value for name, value in here.query(run=failed.id).items() if name != "workspace"}
    )
    assert "Data set **Crockery**" in text(app)
    assert "Broken" in text(app)


def test_a_workspace_takes_so_many_jobs_and_no_more(monkeypatch: pytest.MonkeyPatch, data: DatasetFolder) -> None:
    where = records.workspace()
    monkeypatch.setattr(Workspace, "live", lambda workspace: [data] * actions.MOST_AT_WORK)
    with pytest.raises(InUse, match="Cancel one"):
        actions.once(where, "anything", lambda: data)
    monkeypatch.setattr(actions.st, "session_state", {})
    assert actions.once(where, "finish", lambda: data, one_more=False) is data, "a run that ends is no further one"


def test_of_very_many_classes_the_matrix_shows_the_most_confused(
    monkeypatch: pytest.MonkeyPatch, data: DatasetFolder
) -> None:
    where = records.workspace()
    result = results.load(records.run(data), where)
    confusion = np.eye(60, dtype=int) * 5
    confusion[50, 7] = 3
    test = result.report.test.model_copy(update={"confusion": tuple(tuple(row) for row in confusion.tolist())})
    report = result.report.model_copy(update={"classes": tuple(map(str, range(60))), "test": test})
    many = results.Result(result.run, report, None)
    assert len(many.drawn()) == MOST_CLASSES
    assert {7, 50} <= set(many.drawn())
    assert many.most_confused() == (50, 7)


@pytest.mark.parametrize("page", [EVALUATE.file, PREDICT.file])
def test_a_run_without_a_bundle_says_so_and_offers_no_download(open_page: Open, page: str, run: RunFolder) -> None:
    shutil.rmtree(run.bundle)
    app = open_page(page, run=run.id)
    assert "This run has no bundle." in text(app)
    assert not app.get("download_button")
    assert f"keep-threshold-{run.id}" not in [button.key for button in app.button]


def test_a_run_that_was_cancelled_while_it_waited_is_listed_in_words(open_page: Open) -> None:
    records.run(records.dataset(), state="cancelled", strategy="default")
    assert "efficientnet\\_lite0\\, the default strategy" in text(open_page())


def test_a_list_of_runs_reads_a_report_again_only_when_it_changed(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, data: DatasetFolder, run: RunFolder
) -> None:
    records.run(data)
    home, ideas = open_page(), open_page("pages/6_Ideas.py", dataset=data.id)
    read: list[str] = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or read_bytes(path))
    assert text(home.run()).count("pictures it had never seen") == 2
    assert "Your own numbers" in text(ideas.run())
    assert "report.json" not in read
    report = run.report()
    report.model_copy(update={"test": report.test.model_copy(update={"accuracy": 0.5})}).write(run.report_file)
    assert f"{percent(0.5)} right" in text(home.run())


def test_home_offers_to_read_the_pictures_of_what_another_version_wrote(
    open_page: Open, monkeypatch: pytest.MonkeyPatch, data: DatasetFolder
) -> None:
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    records.run(data)
    for job in (data, *records.workspace().runs()):
        file = job.path / "spec.json"
        file.write_text(
            file.read_text()
            .replace('"schema_version":1', '"schema_version": 9')
            .replace('"schema_version": 1', '"schema_version": 9')
        )
    data.rename("Old")
    app = open_page()
    assert "2 data sets and runs of this workspace cannot be opened by this version" in text(app)
    app.button(key=f"again-{data.id}").click().run()
    (again,) = records.workspace().datasets()
    assert (again.name, again.spec().source) == ("Old", str(data.path))
    assert data.manifest_file.is_file()
    cancel(again)


def test_home_says_how_much_of_its_budget_a_workspace_takes(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    records.dataset()
    assert "that it may have" not in text(open_page())
    monkeypatch.setenv("GRAFT_WORKSPACE_GB", "2")
    assert re.search(r"takes \d+ kB of the 2 GB that it may have", text(open_page()))
