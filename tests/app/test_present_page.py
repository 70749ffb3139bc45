"""The Present page: what its slides say is what the report says, and nothing that a user typed becomes part of the script."""

import json
import random
import re
import shutil
from base64 import b64decode
from collections import Counter
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from tests.app import records
from tests.app.conftest import Open, press, text
from tl_core.runs.store.folders import RunFolder
from tl_core.statements import headline
from ui.evaluate_page import results
from ui.places import EVALUATE, PREDICT, PRESENT
from ui.present_page.slides import MOST_BYTES, Slide, right_answers, slides, wrong_answers
from ui.words import percent

KINDS = ("cup", "plate", "bowl")

HOSTILE = "<script>alert(1)</script> [x](javascript:1) :red[y] $z$ # a\nb" + "c" * 300


def a_run(*mistakes: int, classes: tuple[str, ...] = KINDS, each: int = 40) -> RunFolder:
    return records.run(records.dataset(classes=classes, each=each), mistakes=mistakes)


def component(app: AppTest) -> Any:
    (deck,) = app.get("bidi_component")
    return deck.proto


def told(run: RunFolder) -> list[Slide]:
    return slides(results.load(run, records.workspace()))


def handed_over(app: AppTest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(component(app).json)["slides"]
    return found


def test_the_slides_are_the_report(open_page: Open) -> None:
    run = a_run(0, 1, 2, 7)
    app = open_page(PRESENT.file, run=run.id)
    report = run.report()
    first, right, wrong, matrix, last = handed_over(app)
    assert first["title"] == headline(report)
    assert first["title"].startswith(percent(report.test.accuracy))
    assert first["figure"] == percent(report.test.accuracy)
    assert first["lines"] == ["It tells 3 classes of pictures apart: cup, plate and bowl."]
    assert right["title"] == "It is right: 14 of 18 test pictures"
    assert wrong["title"] == "It is wrong: 4 of 18 test pictures"
    assert [(one["answer"], one["detail"].split(";")[0]) for one in wrong["pictures"]] == [
        (f"said {KINDS[answer.predicted]}", f"it was {KINDS[answer.truth]}") for answer in wrong_answers(report)
    ]
    assert [(one["answer"], one["detail"]) for one in right["pictures"]] == [
        (KINDS[answer.truth], f"{percent(answer.probability)} sure") for answer in right_answers(report)
    ]
    assert {one["right"] for one in right["pictures"]} == {True}
    assert {one["right"] for one in wrong["pictures"]} == {False}
    assert tuple(map(tuple, matrix["counts"])) == report.test.confusion
    assert matrix["classes"] == list(KINDS)
    assert matrix["title"] == "3 of 4 mistakes: “cup” called “plate”"
    titles = [limit["title"] for limit in last["limits"]]
    assert titles[0] == "It always answers with one of its classes"
    assert "It is right least often on cup" in titles
    assert last["note"].startswith(
        "Learned from: 84 training pictures; 18 validation pictures chose the settings. Started from"
    )
    assert "What was re-trained (strategy): " in last["note"]
    assert [button.label for button in app.button] == ["Back to the run"], "nothing on it changes or deletes"
    assert not [kind for kind in ("checkbox", "text_input", "slider", "menu_button") if app.get(kind)]
    app.button(key="back").click().run()
    assert app.title[0].value == EVALUATE.name
    assert app.query_params["run"] == run.id


def test_its_pictures_are_those_that_were_answered() -> None:
    run = a_run(0, 7)
    (data,) = records.workspace().datasets()
    images = data.manifest().images
    (wrong,) = [slide for slide in told(run) if "wrong" in slide.title]
    for shown, answer in zip(wrong.pictures, wrong_answers(run.report()), strict=True):
        kind, _, content = shown.source.partition(";base64,")
        assert kind == "data:image/jpeg"
        with (
            Image.open(BytesIO(b64decode(content))) as sent,
            Image.open(data.image(images[answer.row])) as kept,
        ):
            assert sent.size == kept.size
            means = [image.convert("RGB").resize((1, 1)).getpixel((0, 0)) for image in (sent, kept)]
        assert means[0] == pytest.approx(means[1], abs=4)


def test_a_cross_validated_share_stands_beside_that_of_the_pictures_of_the_next_slide() -> None:
    result = results.load(a_run(0, 1, 2, 7), records.workspace())
    report = result.report.model_copy(update={"headline": "cross_validated", "cross_validated": result.report.test})
    first, right, *_ = slides(results.Result(result.run, report, result.dataset))
    assert "cross\N{NON-BREAKING HYPHEN}validated" in first.title
    assert right.title == "It is right: 14 of 18 test pictures"
    assert "The test pictures alone: 78" in first.note


def test_evaluate_and_the_end_of_the_tour_lead_to_it(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.predict_page.answers.ask", lambda run, pictures: None)
    run = a_run(0)
    for page in (EVALUATE, PREDICT):
        app = open_page(page.file, run=run.id, tour="on")
        stands_out = [button.label for button in app.button if button.proto.type == "primary"]
        assert stands_out == ([] if page is PREDICT else ["Next: try it"]), "one way on, not two"
        press(app, "Present it to others")
        assert app.title[0].value == PRESENT.name
        assert app.query_params["run"] == run.id


def test_of_a_deleted_data_set_there_are_no_pictures_but_all_the_rest(open_page: Open) -> None:
    run = a_run(0)
    shutil.rmtree(run.bundle)
    shutil.rmtree(records.workspace().datasets()[0].path)
    app = open_page(PRESENT.file, run=run.id)
    assert [slide["kind"] for slide in handed_over(app)] == ["outcome", "matrix", "limits"]
    assert "no slide has pictures" in text(app)


def test_a_run_without_a_mistake_says_so() -> None:
    deck = told(a_run(classes=("cup", "plate")))
    assert [slide.kind for slide in deck] == ["outcome", "pictures", "matrix", "limits"]
    assert deck[2].title == "No mistake on 12 test pictures"
    assert not [limit for limit in deck[3].limits if "least often" in limit["title"]]


def test_of_forty_classes_the_commonest_confusions_are_listed() -> None:
    run = a_run(*range(0, 40, 2), classes=tuple(f"kind {number}" for number in range(40)), each=6)
    report = run.report()
    found = told(run)
    assert [slide.kind for slide in found] == ["outcome", "pictures", "pictures", "pictures", "pairs", "limits"]
    assert len({one.answer for one in found[1].pictures}) == 8, "one of a kind"
    assert [len(slide.pictures) for slide in found[2:4]] == [8, 8]
    listed = {(pair.was, pair.said): pair.count for pair in found[4].pairs}
    truth = Counter((report.classes[answer.truth], report.classes[answer.predicted]) for answer in report.mistakes())
    assert listed == {pair: truth[pair] for pair in listed}
    assert sum(listed.values()) == sum(count for _, count in truth.most_common(len(listed)))
    assert re.search(r"kind 0, kind 1, .* and \d+ more\.", found[0].lines[0])


def test_names_are_data_and_never_part_of_script_markup_or_styles(open_page: Open) -> None:
    plain, hostile = a_run(0), a_run(0, classes=(HOSTILE, "plate"))
    expected = component(open_page(PRESENT.file, run=plain.id))
    app = open_page(PRESENT.file, run=hostile.id)
    found = component(app)
    for part in ("js_content", "html_content", "css_content"):
        assert getattr(found, part) == getattr(expected, part) != ""
    assert "<script>alert(1)</script" in found.json
    assert "c" * 60 not in found.json, "a long name is cut"
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "http"):
        assert sink not in found.js_content


def test_of_large_pictures_all_are_shown_but_smaller_and_one_that_is_broken_is_not() -> None:
    run = a_run(*range(8), each=80)
    (data,) = records.workspace().datasets()
    images = data.manifest().images
    every, noise = sum(len(slide.pictures) for slide in told(run)), random.Random(0)
    shown = {answer.row for answer in (*wrong_answers(run.report()), *right_answers(run.report()))}
    paths = [data.image(images[row]) for row in shown]
    for path in paths:
        Image.frombytes("RGB", (512, 512), noise.randbytes(3 * 512 * 512)).save(path, quality=90)
    found = [one.source for slide in told(run) for one in slide.pictures]
    assert len(found) == every == len(paths)
    assert sum(len(b64decode(one.partition(",")[2])) for one in found) <= MOST_BYTES
    paths[0].write_bytes(paths[0].read_bytes()[:40])
    assert sum(len(slide.pictures) for slide in told(run)) == every - 1


def test_the_rule_of_the_right_answers_is_that_by_which_they_were_chosen() -> None:
    for mistakes, said, pictures in (((0,), "2 of each class", 6), (range(5), "at most 2 of each class", 5)):
        slide = told(a_run(*mistakes))[1]
        assert slide.note == f"Chosen by a rule: {said}, from its surest right answer to its least sure one."
        assert len(slide.pictures) == pictures


def test_right_answers_are_equally_many_of_each_class_from_the_surest_to_the_least_sure() -> None:
    report = a_run().report()
    answers = tuple(
        answer.model_copy(update={"probability": 0.5 + 0.02 * number}) for number, answer in enumerate(report.answers)
    )
    report = report.model_copy(update={"answers": answers})
    chosen = right_answers(report)
    assert Counter(answer.truth for answer in chosen) == {0: 2, 1: 2, 2: 2}
    for label in range(3):
        sure = [answer.probability for answer in answers if answer.truth == label]
        assert [answer.probability for answer in chosen if answer.truth == label] == [max(sure), min(sure)]
    (middle,) = [answer for answer in right_answers(report, 3) if answer.truth == 0]
    sure = sorted((answer.probability for answer in answers if answer.truth == 0), reverse=True)
    assert middle.probability == sure[len(sure) // 2]
    assert {answer.truth for answer in right_answers(report, 2)} == {0, 1}


def test_of_each_confusion_the_surest_mistake_comes_first() -> None:
    report = a_run(0, 1, 2, 7).report()
    sure = {answer.row: 0.9 - 0.01 * number for number, answer in enumerate(report.answers)}
    answers = tuple(answer.model_copy(update={"probability": sure[answer.row]}) for answer in report.answers)
    report = report.model_copy(update={"answers": answers})
    rows = [answers[place].row for place in (0, 7, 1, 2)]
    assert [answer.row for answer in wrong_answers(report)] == rows
    assert [answer.row for answer in wrong_answers(report, 2)] == rows[:2]
