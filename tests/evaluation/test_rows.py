"""A metric is one row: whoever adds it finds it in the report, the card, the page and the JSON; a value that is no number is left out."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.app import records
from tests.app.conftest import Open, open_page, text  # noqa: F401
from tests.conftest import PictureFolder
from tests.serving.conftest import bundle, bundle_info, graph  # noqa: F401
from tl_core.cli import main
from tl_core.documents.report import Report
from tl_core.evaluation.metrics import CLASS_METRICS, METRICS, Judged, Metric, split_metrics
from tl_core.runs.finished import summarise
from tl_core.serving.bundle import Bundle
from tl_core.serving.card import model_card
from tl_core.statements import Source
from tl_core.table import Table


def _kappa(judged: Judged) -> float:
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(judged.truth, judged.predicted))


def _specificity(judged: Judged) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        return np.asarray(1 - (judged.said - judged.right) / (len(judged.truth) - judged.support))


@pytest.fixture
def kappa(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows, as somebody who adds a metric writes them."""
    row = Metric(name="kappa", title="Cohen's kappa", meaning="The agreement above chance", compute=_kappa, form=".2f")
    monkeypatch.setitem(METRICS, row.name, row)
    specificity = Metric(
        name="specificity",
        title="specificity",
        meaning="Of the other pictures, the share that was not given this name",
        compute=_specificity,
    )
    monkeypatch.setitem(CLASS_METRICS, specificity.name, specificity)


def test_a_new_row_is_in_report_card_summary_and_page(kappa: None, open_page: Open) -> None:  # noqa: F811
    run = records.run(records.dataset())
    report = Report.read(run.path / "report.json")
    assert json.loads((run.path / "report.json").read_text())["test"]["kappa"] == pytest.approx(5 / 6)
    assert report.test.per_class[1].value("specificity") == pytest.approx(5 / 6)
    card = model_card(Source(report=report, spec=run.spec()), bundle_info())
    assert "- **Cohen's kappa 0\\.83.** The agreement above chance" in card
    assert "| class | precision | recall | F1 | specificity | pictures |" in card
    assert summarise(run).model_dump()["kappa"] == pytest.approx(5 / 6)
    app = open_page("pages/3_Evaluate.py", run=run.id)
    assert r"Cohen's kappa 0\.83\. The agreement above chance\." in text(app)
    assert app.dataframe[0].value["Specificity"].min() == 83


def test_a_new_row_is_in_what_evaluate_prints(
    kappa: None,
    bundle: Bundle,  # noqa: F811
    picture_folder: PictureFolder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = str(picture_folder({"red": 3, "green": 3, "blue": 3}))
    assert main(["evaluate", str(bundle.folder), data, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) >= {"accuracy", "images", "interval", "macro_f1", "per_class", "kappa"}
    assert "log_loss" not in found, "it stands in the report only"
    assert set(found["per_class"][0]) >= {"name", "precision", "recall", "f1", "support", "specificity"}
    assert main(["evaluate", str(bundle.folder), data]) == 0
    said = capsys.readouterr().out
    assert "; Cohen's kappa " in said
    assert "specificity" in said


def test_two_metrics_of_one_name_are_noticed_when_the_module_is_imported() -> None:
    with pytest.raises(ValueError, match="'macro_f1'"):
        Table("metric", [METRICS["macro_f1"], METRICS["macro_f1"]])


@pytest.mark.filterwarnings("ignore:A single label:UserWarning", "ignore:.*is undefined")
def test_what_is_no_number_does_not_spoil_the_report(kappa: None, tmp_path: Path) -> None:
    """Of one class alone, kappa is 0 divided by 0, and so is the specificity."""
    found = split_metrics(np.array([[0.9, 0.1]] * 3), np.zeros(3, dtype=np.int64), ["ant", "bee"])
    assert found.value("kappa") is None
    assert found.per_class[0].value("specificity") is None
    assert type(found).model_validate_json(found.model_dump_json()) == found
