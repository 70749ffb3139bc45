"""Runs are compared on the pictures that all were judged on and none learned from, whatever became of their data sets."""

import shutil
from typing import get_args

import pytest

from tests.app import records
from tl_core.documents.manifest import Remedies, Split, SplitRecord
from tl_core.documents.report import Report
from tl_core.runs import comparing
from tl_core.runs.comparing import comparable_before, together
from tl_core.runs.store.folders import DatasetFolder, RunFolder


@pytest.fixture
def data() -> DatasetFolder:
    """Three classes of 40: 18 test pictures."""
    return records.dataset(each=40)


def a_run(data: DatasetFolder, *mistakes: int, **more: object) -> RunFolder:
    return records.run(data, mistakes=mistakes, **more)  # type: ignore[arg-type]


def _rows(run: RunFolder) -> list[int]:
    """Its test pictures, as rows of the manifest."""
    return [answer.row for answer in comparing.tested_on(run).answers.values()]


def test_the_better_run_is_found_on_the_pictures_of_both(data: DatasetFolder) -> None:
    a, b = a_run(data, *range(7), name="Old"), a_run(data, 17, name="New")
    found = together([a, b])
    (one,) = found.comparisons
    assert (one.verdict, one.images, one.only_a, one.only_b, one.differ) == ("cannot_tell", 18, 1, 7, 8)
    assert one.said == f"cannot tell with 18 pictures; about {one.images_needed} would"
    assert [figure.accuracy for figure in found.figures] == [pytest.approx(11 / 18), pytest.approx(17 / 18)]
    assert [(figure.name, figure.seconds) for figure in found.figures] == [("Old", 19.0), ("New", 19.0)]
    better = together([a, a_run(data)]).comparisons[0]
    assert (better.verdict, better.said, better.p_value) == ("better", "better", pytest.approx(2 / 2**7))
    assert together([a_run(data), a]).comparisons[0].verdict == "worse"


def test_pictures_are_matched_where_the_data_set_was_deleted(data: DatasetFolder) -> None:
    a, b = a_run(data, 0), a_run(data, 1)
    shutil.rmtree(data.path)
    after = together([a, b])
    assert len(after.pictures) == 18
    assert after.comparisons[0].differ == 2


def test_the_same_bytes_in_two_classes_are_two_pictures() -> None:
    data = records.dataset(each=40)
    images = list(data.manifest().images)
    tested = _rows(a_run(data))
    first = images[tested[0]]
    second = next(row for row in tested if images[row].label != first.label)
    images[second] = images[second].model_copy(update={"sha256": first.sha256})
    data.manifest().model_copy(update={"images": tuple(images)}).write(data.manifest_file)
    both = together([a_run(data, 0), a_run(data, 1)])
    assert len(both.pictures) == len(set(both.pictures)) == len(tested)


def test_what_one_learned_from_is_compared_by_neither(data: DatasetFolder) -> None:
    """With another seed most test pictures of one run are training pictures of the other."""
    a, b = a_run(data), a_run(data, seed=1)
    found = together([a, b])
    own = {content for content, _ in found.pictures}
    assert 0 < len(own) < 18
    for one in found.tested:
        assert one.record
        assert own <= one.record.parts["test"].keys()
        assert not own & {*one.record.parts["train"], *one.record.parts["val"]}
    (caution,) = found.cautions()
    assert caution.startswith(f"They were judged together on only {len(own)} of 18 test pictures.")


def test_a_third_run_with_few_pictures_in_common_does_not_take_those_of_the_others(data: DatasetFolder) -> None:
    a, odd, b = a_run(data, 0), a_run(data, seed=1, name="Odd"), a_run(data, 1)
    for order in ([a, odd, b], [odd, a, b], [a, b, odd]):
        found = together(order)
        assert [run.path for run in found.runs] == [run.path for run in order if run is not odd]
        assert len(found.pictures) == 18
        (left_out,) = found.left_out
        assert left_out.run.path == odd.path
        assert "of the 18 test pictures in common with the others" in left_out.reason


def test_runs_on_other_pictures_are_not_compared_and_it_says_why(data: DatasetFolder) -> None:
    a = a_run(data, name="Crockery")
    fewer = records.dataset(name="Fewer", classes=("cup", "plate"), each=5)
    # Its pictures are some of the others', and what is tested there is learned from here.
    taught = comparing.tested_on(a).record
    b = a_run(fewer, name="Fewer")
    contents = list(comparing.tested_on(b).record.parts["test"])
    assert set(contents) <= taught.parts["train"].keys() | taught.parts["val"].keys() | taught.parts["test"].keys()
    moved = {part: {c: g for c, g in taught.parts[part].items() if c not in contents} for part in get_args(Split)}
    moved["train"] |= dict.fromkeys(contents, 10_000)
    SplitRecord(parts=moved).write(a.split_file)
    b.report_file.touch()
    (left_out,) = together([a, b]).left_out
    assert left_out.reason == (
        "It has no test picture in common with 'Crockery': 'Crockery' learned from 2 of its 2 test pictures. "
        "Runs with the same seed on the same data set are judged on the same pictures."
    )


def test_pictures_in_another_class_are_other_questions(data: DatasetFolder) -> None:
    a = a_run(data)
    test = [data.manifest().images[row] for row in _rows(a)]
    moved = [image for image in test if image.label][:3]
    data.versions.apply(Remedies(move={image.file: "cup" for image in moved}))
    found = together([a, a_run(data, version=2)])
    assert len(found.pictures) == 15
    assert not {content for content, _ in found.pictures} & {image.sha256 for image in moved}


def test_a_run_on_a_version_is_compared_on_the_test_pictures_that_stayed(data: DatasetFolder) -> None:
    a = a_run(data, 0)
    first, second = _rows(a)[:2]
    data.versions.apply(Remedies(leave_out=(data.manifest().images[first].file,)))
    b = a_run(data, 0, version=2)
    found = together([a, b])
    assert len(found.pictures) == 17
    assert _rows(b)[0] == second - 1
    assert (found.comparisons[0].only_a, found.comparisons[0].only_b) == (1, 0)
    assert comparable_before(b, records.workspace().runs()) is not None
    assert comparable_before(a, records.workspace().runs()) is None


def test_a_run_on_the_version_to_which_pictures_were_added_is_compared_on_all_test_pictures_from_before(
    data: DatasetFolder,
) -> None:
    a = a_run(data, 0)
    larger = records.dataset(each=50).manifest()
    old = {image.sha256 for image in data.manifest().images}
    images = (*data.manifest().images, *(image for image in larger.images if image.sha256 not in old))
    data.versions.add(2, 1, data.manifest().model_copy(update={"images": images}))
    b = a_run(data, version=2)
    found = together([a, b])
    assert len(found.tested[1].answers) > len(found.pictures) == 18
    assert found.comparisons[0].only_b == 1
    before = comparable_before(b, records.workspace().runs())
    assert before
    assert before.id == a.id


def test_groups_of_any_run_count_as_one_and_what_leaks_is_said(data: DatasetFolder) -> None:
    a, b = a_run(data, *range(9)), a_run(data)
    record = comparing.tested_on(b).record
    contents = list(record.parts["test"])
    groups = {content: 1000 + place // 9 for place, content in enumerate(contents)}
    learned = dict(record.parts["train"])
    learned[next(iter(learned))] = 1001
    SplitRecord(parts={**record.parts, "train": learned, "test": groups}).write(b.split_file)
    b.report_file.touch()
    found = together([a, b])
    (one,) = found.comparisons
    assert (one.groups, one.images, one.only_b) == (2, 18, 9)
    assert one.verdict == "cannot_tell", "nine pictures of one group say what one picture says"
    assert one.p_value == 1.0
    assert found.leaked == 9
    assert found.cautions() == [
        "9 of the pictures show what one of the runs learned from as well, and may be named rightly for that. "
        "Without them: cannot tell with 9 pictures; about 44 would."
    ]


def _with_a_spoon(report: Report) -> dict[str, object]:
    """The fields of `report` with one class more, of which there is no picture."""
    test = report.test
    spoon = test.per_class[0].model_copy(update={"name": "spoon", "support": 0})
    counts = (*((*row, 0) for row in test.confusion), (0,) * (len(test.confusion) + 1))
    wider = test.model_copy(update={"per_class": (*test.per_class, spoon), "confusion": counts})
    return {"classes": (*report.classes, "spoon"), "test": wider, "val": wider}


def test_what_makes_a_comparison_doubtful_is_said(data: DatasetFolder) -> None:
    a, b = a_run(data), a_run(data)
    for run in (a, b):
        said = {"one_moment": ("<b>cup",), "headline": None}
        run.report().model_copy(update={**said, **(_with_a_spoon(run.report()) if run is b else {})}).write(
            run.report_file
        )
    moment, classes = together([a, b]).cautions()
    assert moment.startswith("All of one moment: record <b>cup again elsewhere. Until then")
    assert classes == "The runs do not have the same classes: one that knows fewer has the easier task."


def test_a_run_that_did_not_end_well_is_left_out_with_the_reason(data: DatasetFolder) -> None:
    a, failed, b = a_run(data), a_run(data, state="failed", name="Broken"), a_run(data)
    found = together([a, failed, b])
    assert [run.path for run in found.runs] == [a.path, b.path]
    assert [one.reason for one in found.left_out] == [
        "'Broken' has no report: only a run that has ended well can be compared."
    ]
