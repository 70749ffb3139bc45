"""`compare` and `story`: a verdict, a file, and words for what cannot be compared or told."""

import json
from pathlib import Path

import pytest

from tests.app import records
from tests.cli.conftest import Terminal
from tl_core.runs.store.folders import DatasetFolder, RunFolder


@pytest.fixture
def data() -> DatasetFolder:
    return records.dataset(records.workspace(), each=40)


def a_run(data: DatasetFolder, name: str, *mistakes: int, seed: int = 0) -> str:
    return str(records.run(data, name=name, mistakes=mistakes, seed=seed).path)


def test_two_runs_give_one_object(data: DatasetFolder, terminal: Terminal) -> None:
    a, b = a_run(data, "Old", *range(7)), a_run(data, "New")
    found = terminal.json("compare", a, b)
    assert (found["verdict"], found["images"], found["differ"], found["images_needed"]) == ("better", 18, 7, None)
    assert found["p_value"] == pytest.approx(2 / 2**7)
    assert (found["a"]["run_dir"], found["b"]["run_dir"]) == (a, b)
    assert (found["b"]["accuracy"], found["b"]["seconds"]) == (1.0, 19.0)
    assert terminal.json("compare", b, a)["verdict"] == "worse"


def test_people_get_a_table_and_the_verdict_in_words(data: DatasetFolder, terminal: Terminal) -> None:
    said = terminal.out("compare", a_run(data, "Old\x1b[31m", 0, 1, 2), a_run(data, "New", 17))
    assert "Old\\x1b[31m" in said
    assert "94 %" in said
    assert "B against A: cannot tell with 18 pictures; about" in said
    assert "the answers differ on 4 pictures, of which only A has 1 right and only B 3." in said
    assert "Holm" not in said


def test_several_runs_give_a_list_of_pairs_and_one_that_cannot_be_compared_says_why(
    data: DatasetFolder, terminal: Terminal
) -> None:
    runs = [a_run(data, "A", *range(7)), a_run(data, "B"), a_run(data, "Odd", seed=1), a_run(data, "C", 0)]
    told = terminal.run(["compare", *runs, "--json"], 0)
    pairs = {f"{pair['a']['name']}-{pair['b']['name']}": pair for pair in json.loads(told.out)}
    assert list(pairs) == ["A-B", "A-Odd", "A-C", "B-Odd", "B-C", "Odd-C"]
    assert pairs["A-B"]["p_value"] == pytest.approx(3 * 2 / 2**7)
    assert pairs["A-B"]["verdict"] == "better"
    assert pairs["B-Odd"]["verdict"] is None
    assert "in common with the others" in pairs["Odd-C"]["reason"]
    assert told.err.startswith("'Odd' is not compared with the others.")
    assert "corrected for so many pairs (Holm)" in terminal.out("compare", *runs[:2], runs[3])


def test_what_cannot_be_compared_is_named(data: DatasetFolder, tmp_path: object, terminal: Terminal) -> None:
    run, other = (
        a_run(data, "A"),
        a_run(records.dataset(records.workspace(), classes=tuple("defghi"), each=20), "Tools"),
    )
    for arguments, words in (
        ([run], "two different runs"),
        # Pictures 0 to 2 are those of the other data set, in other classes.
        ([run, other], "'Tools' is not compared. It has no test picture in common with 'A'"),
        ([run, f"{run}/../{run.rsplit('/', 1)[1]}"], "two different runs"),
        ([run, f"{tmp_path}/nowhere"], "There is no run at"),
        ([run, f"{run}/bundle"], "is a bundle, which holds what predicts"),
        ([run, f"{tmp_path}/bundle.zip"], "is a bundle, which holds what predicts"),
    ):
        assert words in terminal.err("compare", *arguments)


@pytest.fixture
def run() -> RunFolder:
    return records.run(records.dataset(), mistakes=(0, 1, 4))


def test_story_is_written_once(run: RunFolder, tmp_path: Path, terminal: Terminal) -> None:
    out = tmp_path / "story.html"
    assert "kB, 3 mistakes and 4 right answers as pictures.\n" in terminal.out(
        "story", str(run.path), "--out", str(out)
    )
    before = out.read_bytes()
    assert "is there already" in terminal.err("story", str(run.path), "--out", str(out), "--mistakes", "1")
    assert out.read_bytes() == before


def test_story_shows_the_answers_that_are_asked_for(run: RunFolder, tmp_path: Path, terminal: Terminal) -> None:
    report, out = run.report(), tmp_path / "a.html"
    assert terminal.json("story", run.path, "--out", out, "--mistakes", "2", "--right", "0") == {
        "file": str(out),
        "bytes": out.stat().st_size,
        "rows": [answer.row for answer in report.mistakes()[:2]],
        "left_out": 0,
        "pictures": True,
    }
    rows = [report.answers[5].row, report.answers[0].row]
    picked = [word for row in rows for word in ("--picture", str(row))]
    assert terminal.json("story", str(run.path), "--out", str(tmp_path / "b.html"), *picked)["rows"] == rows


def test_what_cannot_be_told_is_said_in_words(run: RunFolder, tmp_path: Path, terminal: Terminal) -> None:
    learned = next(row for row in range(60) if row not in {answer.row for answer in run.report().answers})
    out = str(tmp_path / "story.html")
    for words, problem in [
        (["--out", out, "--picture", str(learned)], f"There is no test picture in row {learned}"),
        (["--out", out, "--mistakes", "-1"], "-1 mistakes"),
        (["--out", str(tmp_path / "nowhere" / "story.html")], "name a file such as story.html in a folder that exists"),
        (["--out", str(tmp_path / "story.pdf")], "name a file such as story.html"),
    ]:
        assert problem in terminal.err("story", str(run.path), *words)
    assert "There is no run at" in terminal.err("story", str(tmp_path), "--out", out)
    assert not list(tmp_path.glob("*.html"))


def test_a_run_without_its_data_set_is_told_without_pictures(
    run: RunFolder, tmp_path: Path, terminal: Terminal
) -> None:
    records.workspace().dataset(run.spec().dataset).delete()
    assert "so the story has no pictures, and says so" in terminal.out(
        "story", str(run.path), "--out", str(tmp_path / "story.html")
    )
    found = terminal.json("story", str(run.path), "--out", str(tmp_path / "again.html"))
    assert (found["pictures"], found["rows"]) == (False, [])
