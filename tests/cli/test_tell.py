"""`story`: the file that it writes, what it prints, and what it refuses."""

import json
from pathlib import Path

import pytest

from tests.app import records
from tl_core.cli import main
from tl_core.runs.store.folders import RunFolder


@pytest.fixture
def run() -> RunFolder:
    where = records.workspace()
    run = records.run(where, records.dataset(where), mistakes=(0, 1, 4))
    records.bundle_info(run)
    return run


def test_story_is_written_once(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "story.html"
    assert main(["story", str(run.path), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said == f"{out}: {-(-out.stat().st_size // 1000)} kB, 3 mistakes and 4 right answers as pictures.\n"
    before = out.read_bytes()
    assert main(["story", str(run.path), "--out", str(out), "--mistakes", "1"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_story_shows_the_answers_that_are_asked_for(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run.report()
    assert (
        main(["story", str(run.path), "--out", str(tmp_path / "a.html"), "--mistakes", "2", "--right", "0", "--json"])
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "file": str(tmp_path / "a.html"),
        "bytes": (tmp_path / "a.html").stat().st_size,
        "rows": [answer.row for answer in report.mistakes()[:2]],
        "left_out": 0,
        "pictures": True,
    }
    rows = [report.answers[5].row, report.answers[0].row]
    picked = [word for row in rows for word in ("--picture", str(row))]
    assert main(["story", str(run.path), "--out", str(tmp_path / "b.html"), *picked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == rows


def test_what_cannot_be_told_is_said_in_words(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learned = next(row for row in range(60) if row not in {answer.row for answer in run.report().answers})
    out = str(tmp_path / "story.html")
    for words, problem in [
        (["--out", out, "--picture", str(learned)], f"There is no test picture in row {learned}"),
        (["--out", out, "--mistakes", "-1"], "-1 mistakes"),
        (["--out", str(tmp_path / "nowhere" / "story.html")], "name an HTML file in a folder that exists"),
        (["--out", str(tmp_path / "story.pdf")], "name an HTML file"),
    ]:
        assert main(["story", str(run.path), *words]) == 2
        assert problem in capsys.readouterr().err
    assert main(["story", str(tmp_path), "--out", out]) == 2
    assert "has no result that could be looked at" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.html"))


def test_a_run_without_its_data_set_is_told_without_pictures(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records.workspace().dataset(run.spec().dataset).delete()
    assert main(["story", str(run.path), "--out", str(tmp_path / "story.html")]) == 0
    assert "so the story has no pictures, and says so" in capsys.readouterr().out
    assert main(["story", str(run.path), "--out", str(tmp_path / "again.html"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["pictures"], found["rows"]) == (False, [])
