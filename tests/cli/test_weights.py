"""`weights fetch`, `weights list` and `backbones`: what is said of each set, and that one failure does not stop the rest."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Terminal
from tests.models.sites import CONTENT, PROXIES, Site, hub_row, serving, torch_row
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


def test_fetch_goes_on_after_failures_and_names_them(site: Site, terminal: Terminal) -> None:
    out, err = terminal.run(["weights", "fetch", "resnet50", "alexnet", "resnet18", "efficientnet_lite0"], 2)
    assert "2 of 4 could not be fetched: resnet50:IMAGENET1K_V2, alexnet:IMAGENET1K_V1." in err
    assert "cannot be reached" in out
    assert "HF_HUB_OFFLINE" in out
    assert "resnet18:IMAGENET1K_V1: torch cache, " in out
    assert "efficientnet_lite0:IMAGENET1K: package, " in out
    assert len(site.asked) == 1


def test_fetch_as_json_with_a_set_by_name(site: Site, terminal: Terminal) -> None:
    (row,) = terminal.json("weights", "fetch", "resnet18:IMAGENET1K_V1", "resnet18")
    assert (row["network"], row["weights"], row["where"]) == ("resnet18", "IMAGENET1K_V1", "torch cache")
    assert Path(row["file"]).read_bytes() == CONTENT
    failed, good = terminal.json("weights", "fetch", "resnet50", "resnet18", code=2)
    assert failed["error"]["kind"] == "weights_unavailable"
    assert good["where"] == "torch cache"


def test_fetch_says_all_wrong_names_before_it_begins(site: Site, terminal: Terminal) -> None:
    said = terminal.err("weights", "fetch", "resnet18", "resnet19", "resnet18:V7")
    assert "'resnet19'" in said
    assert "'V7'" in said
    assert site.paths == []


def test_list_says_where_each_set_is(site: Site, terminal: Terminal) -> None:
    rows = {row["network"]: row for row in terminal.json("weights", "list")}
    assert rows["efficientnet_lite0"]["where"] == "package"
    assert (rows["resnet18"]["where"], rows["resnet18"]["available"]) == ("downloads 3 MB", False)
    terminal.out("weights", "fetch", "resnet18")
    said = terminal.out("weights", "list", "--here")
    assert "here: torch cache" in said
    assert "alexnet" not in said
    assert "Without the internet these work now: efficientnet_lite0, resnet18; any other backbone from scratch." in said


def test_backbones_fill_every_field(terminal: Terminal) -> None:
    rows = terminal.json("backbones")
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


def test_backbones_are_filtered_and_sorted(site: Site, terminal: Terminal) -> None:
    def names(*options: str) -> list[str]:
        return [row["name"] for row in terminal.json("backbones", *options)]

    assert names("--here") == ["efficientnet_lite0"]
    assert names("--sort", "name") == ["alexnet", "efficientnet_lite0", "resnet18", "resnet50"]
    assert names("--sort", "accuracy") == ["resnet50", "efficientnet_lite0", "resnet18", "alexnet"]
    assert names("--sort", "parameters") == ["efficientnet_lite0", "resnet18", "resnet50", "alexnet"]
    table = terminal.out("backbones")
    assert "here: package" in table
    assert "downloads 3 MB" in table
