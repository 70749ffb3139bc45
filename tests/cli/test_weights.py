"""`weights fetch`, `weights list` and `backbones`: what is said of each set, and that one failure does not stop the rest."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.models.sites import CONTENT, PROXIES, Site, hub_row, serving, torch_row
from tl_core.cli import main
from tl_core.models import registry
from tl_core.models.registry import network
from tl_core.table import Table


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Lite0, a network whose server works, one whose server does not, and one of the hub, which is offline."""
    for variable in (*PROXIES, "GRAFT_WEIGHTS_DIR", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with serving() as told:
        gone = torch_row(Site(port=9), "resnet50")
        rows = (network("efficientnet_lite0"), torch_row(told), gone, hub_row("alexnet"))
        table = Table("backbone", rows)
        monkeypatch.setattr(registry, "_shipped", lambda: table)
        yield told


def as_json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_fetch_goes_on_after_failures_and_names_them(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "fetch", "resnet50", "alexnet", "resnet18", "efficientnet_lite0"]) == 2
    out, err = capsys.readouterr()
    assert "2 of 4 could not be fetched: resnet50:IMAGENET1K_V2, alexnet:IMAGENET1K_V1." in err
    assert "cannot be reached" in out
    assert "HF_HUB_OFFLINE" in out
    assert "resnet18:IMAGENET1K_V1: torch cache, " in out
    assert "efficientnet_lite0:IMAGENET1K: package, " in out
    assert len(site.asked) == 1


def test_fetch_as_json_with_a_set_by_name(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "fetch", "resnet18:IMAGENET1K_V1", "resnet18", "--json"]) == 0
    (row,) = as_json(capsys)
    assert (row["network"], row["weights"], row["where"]) == ("resnet18", "IMAGENET1K_V1", "torch cache")
    assert Path(row["file"]).read_bytes() == CONTENT
    assert main(["weights", "fetch", "resnet50", "resnet18", "--json"]) == 2
    failed, good = as_json(capsys)
    assert failed["error"]["kind"] == "weights_unavailable"
    assert good["where"] == "torch cache"


def test_fetch_says_all_wrong_names_before_it_begins(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "fetch", "resnet18", "resnet19", "resnet18:V7"]) == 2
    said = capsys.readouterr().err
    assert "'resnet19'" in said
    assert "'V7'" in said
    assert site.paths == []


def test_list_says_where_each_set_is(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "list", "--json"]) == 0
    rows = {row["network"]: row for row in as_json(capsys)}
    assert rows["efficientnet_lite0"]["where"] == "package"
    assert (rows["resnet18"]["where"], rows["resnet18"]["available"]) == ("downloads 3 MB", False)
    assert main(["weights", "fetch", "resnet18"]) == 0
    capsys.readouterr()
    assert main(["weights", "list", "--here"]) == 0
    said = capsys.readouterr().out
    assert "here: torch cache" in said
    assert "alexnet" not in said
    assert "Without the internet these work now: efficientnet_lite0, resnet18; any other backbone from scratch." in said


def test_backbones_fill_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backbones", "--json"]) == 0
    rows = as_json(capsys)
    assert len(rows) >= 81
    fields = {
        "name", "family", "source", "head", "stages", "stage_parameters", "parameters", "gflops", "embedding_size",
        "input_size", "mean", "std", "interpolation", "image_sizes", "weights", "default_weights", "available", "licence",
    }  # fmt: skip
    for row in rows:
        assert set(row) == fields
        assert len(row["stages"]) == len(row["stage_parameters"])
        assert all(value not in (None, "", []) for value in row["image_sizes"].values())
        assert row["default_weights"] in {known["name"] for known in row["weights"]}
        for known in row["weights"]:
            # Null for those that come without a classifier of its 1,000 classes.
            accuracy = known.pop("imagenet_accuracy")
            classifies = known["trained_on"].endswith("ImageNet-1k") and known["name"] != "IMAGENET1K_FEATURES"
            assert (accuracy is not None) == classifies, known
            assert all(value not in (None, "", []) for value in known.values()), known
            assert known["download_bytes"] > 1_000_000
        assert all(value not in (None, "", []) for value in row.values())


def test_backbones_are_filtered_and_sorted(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    def names(*options: str) -> list[str]:
        assert main(["backbones", "--json", *options]) == 0
        return [row["name"] for row in as_json(capsys)]

    assert names("--here") == ["efficientnet_lite0"]
    assert names("--sort", "name") == ["alexnet", "efficientnet_lite0", "resnet18", "resnet50"]
    assert names("--sort", "accuracy") == ["resnet50", "efficientnet_lite0", "resnet18", "alexnet"]
    assert names("--sort", "parameters") == ["efficientnet_lite0", "resnet18", "resnet50", "alexnet"]
    assert main(["backbones"]) == 0
    table = capsys.readouterr().out
    assert "here: package" in table
    assert "downloads 3 MB" in table
