"""`compare`: a verdict for programs and for people, and words where runs cannot be compared."""

import json

import pytest

from tests.app import records
from tl_core.cli import main
from tl_core.runs.store.folders import DatasetFolder


@pytest.fixture
def data() -> DatasetFolder:
    return records.dataset(records.workspace(), each=40)


def a_run(data: DatasetFolder, name: str, *mistakes: int, seed: int = 0) -> str:
    return str(records.run(records.workspace(), data, name=name, mistakes=mistakes, seed=seed).path)


def test_two_runs_give_one_object(data: DatasetFolder, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = a_run(data, "Old", *range(7)), a_run(data, "New")
    assert main(["compare", a, b, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["images"], found["differ"], found["images_needed"]) == ("better", 18, 7, None)
    assert found["p_value"] == pytest.approx(2 / 2**7)
    assert (found["a"]["run_dir"], found["b"]["run_dir"]) == (a, b)
    assert (found["b"]["accuracy"], found["b"]["seconds"]) == (1.0, 19.0)
    assert main(["compare", b, a, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "worse"


def test_people_get_a_table_and_the_verdict_in_words(data: DatasetFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", a_run(data, "Old\x1b[31m", 0, 1, 2), a_run(data, "New", 17)]) == 0
    said = capsys.readouterr().out
    assert "Old\\x1b[31m" in said
    assert "94 %" in said
    assert "B against A: cannot tell with 18 pictures; about" in said
    assert "the answers differ on 4 pictures, of which only A has 1 right and only B 3." in said
    assert "Holm" not in said


def test_several_runs_give_a_list_of_pairs_and_one_that_cannot_be_compared_says_why(
    data: DatasetFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [a_run(data, "A", *range(7)), a_run(data, "B"), a_run(data, "Odd", seed=1), a_run(data, "C", 0)]
    assert main(["compare", *runs, "--json"]) == 0
    told = capsys.readouterr()
    pairs = {f"{pair['a']['name']}-{pair['b']['name']}": pair for pair in json.loads(told.out)}
    assert list(pairs) == ["A-B", "A-Odd", "A-C", "B-Odd", "B-C", "Odd-C"]
    assert pairs["A-B"]["p_value"] == pytest.approx(3 * 2 / 2**7)
    assert pairs["A-B"]["verdict"] == "better"
    assert pairs["B-Odd"]["verdict"] is None
    assert "in common with the others" in pairs["Odd-C"]["reason"]
    assert told.err.startswith("'Odd' is not compared with the others.")
    assert main(["compare", *runs[:2], runs[3]]) == 0
    assert "corrected for so many pairs (Holm)" in capsys.readouterr().out


def test_runs_on_different_pictures_are_not_compared(data: DatasetFolder, capsys: pytest.CaptureFixture[str]) -> None:
    other = records.dataset(records.workspace(), name="Tools", classes=("d", "e", "f", "g", "h", "i"), each=20)
    # Pictures 0 to 2 are those of the other data set, in other classes.
    assert main(["compare", a_run(data, "Crockery"), a_run(other, "Tools"), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)["error"]
    assert told["kind"] == "spec"
    assert told["message"].startswith("'Tools' is not compared. It has no test picture in common with 'Crockery'")


def test_what_is_no_run_is_named(data: DatasetFolder, tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run(data, "A")
    for arguments, words in (
        ([run], "two different runs"),
        ([run, f"{run}/../{run.rsplit('/', 1)[1]}"], "two different runs"),
        ([run, f"{tmp_path}/nowhere"], "There is no run at"),
        ([run, f"{run}/bundle"], "is a bundle, which does not hold the answers"),
        ([run, f"{tmp_path}/bundle.zip"], "is a bundle, which does not hold the answers"),
    ):
        assert main(["compare", *arguments]) == 2
        assert words in capsys.readouterr().err
