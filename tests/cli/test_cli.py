"""The command line as a user meets it: what each command prints, and that JSON stands alone on stdout."""

import re
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from tests.cli.conftest import SIZE, Terminal, Trained, run
from tests.conftest import PictureFolder, lend, picture
from tl_core.cli import main
from tl_core.cli.train import tell, tell_strategy
from tl_core.documents.events import UsedGpu
from tl_core.documents.manifest import SplitRecord
from tl_core.documents.options import Recipe
from tl_core.evaluation.corruptions import CORRUPTIONS
from tl_core.runs.finished import summarise
from tl_core.runs.store.folders import RunFolder
from tl_core.runs.store.store import Store
from tl_core.training.strategies.strategies import Strategy, strategy


def test_train_prints_the_promised_object_and_makes_out_the_run_folder(trained: Trained) -> None:
    result = trained.result
    assert set(result) == {
        "run_dir", "classes", "train_images", "val_images", "test_images", "refused_files", "val_accuracy",
        "test_accuracy", "test_interval", "cv_accuracy", "cv_interval", "headline", "one_moment", "leaked_images",
        "test_accuracy_without_leaked", "test_interval_without_leaked", "macro_f1", "seconds", "peak_memory_mb", "backbone",
        "weights", "strategy",
        "chosen_by", "reason", "solver", "device", "gpu", "seed", "trainable_parameters", "total_parameters", "estimated_seconds",
    }  # fmt: skip
    assert Path(result["run_dir"]) == trained.run_dir
    assert result["classes"] == ["<b>Birne", "Kirsche", "apple"]
    assert [result[f"{part}_images"] for part in ("train", "val", "test")] == [42, 9, 9]
    assert result["refused_files"] == 1
    low, high = result["test_interval"]
    assert 0 <= low <= result["test_accuracy"] <= high <= 1
    assert result["test_accuracy"] > 0.7
    assert result["headline"] == "cross_validated"
    low, high = result["cv_interval"]
    assert 0.7 < low <= result["cv_accuracy"] <= high <= 1
    assert (result["backbone"], result["strategy"], result["seed"]) == ("efficientnet_lite0", "feature_extraction", 3)
    assert result["trainable_parameters"] == (1280 + 1) * 3 < result["total_parameters"]
    seconds = result["seconds"]
    assert set(seconds) == {"ingest", "features", "training", "export", "evaluation", "total"}
    assert all(value > 0 for value in seconds.values())
    assert seconds["total"] >= sum(value for name, value in seconds.items() if name != "total") - 0.1
    assert 100 < result["peak_memory_mb"] < 2000


def test_train_says_the_headline_by_its_name_and_the_test_beside_it(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(trained.result)
    first, *others = capsys.readouterr().out.splitlines()
    assert "right on 60 pictures, cross-validated (" in first
    assert any(line.startswith("The test pictures alone: ") and "right on 9 pictures" in line for line in others)


def test_train_says_on_which_gpu_it_was(trained: Trained, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = RunFolder(shutil.copytree(trained.run_dir, tmp_path / "run"))
    tell(summarise(run).model_dump(mode="json"))
    assert " s on cpu, " in capsys.readouterr().out
    on_gpu = {"device": "cuda", "gpu": UsedGpu(name="NVIDIA L4", uuid="GPU-1", one_of_several=True)}
    run.status().model_copy(update=on_gpu).write(run.path / "status.json")
    result = summarise(run).model_dump(mode="json")
    tell(result)
    assert (result["device"], result["gpu"]) == ("cuda", "NVIDIA L4 (GPU-1)")
    assert " s on NVIDIA L4 (GPU-1), " in capsys.readouterr().out


def test_the_strategy_that_was_taken_is_explained_with_the_price_of_a_longer_one(
    trained: Trained, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_STORE", str(trained.store))
    tell_strategy(trained.result)
    said = capsys.readouterr().out
    assert "feature_extraction" in said
    assert re.search(r"--strategy partial_fine_tuning would take .*(second|minute)s", said)


def test_a_run_that_ended_well_is_told_also_where_its_data_set_is_gone(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    # The store of this test holds no data set.
    tell_strategy(trained.result)
    assert "feature_extraction" in capsys.readouterr().out


def test_predict_answers_each_file_in_its_place(trained: Trained, tmp_path: Path, terminal: Terminal) -> None:
    picture(0, 99).save(tmp_path / "new.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    files = [str(tmp_path / "broken.jpg"), str(tmp_path / "new.png"), str(tmp_path / "missing.jpg")]
    broken, new, missing = terminal.json("predict", str(trained.run_dir), *files)
    assert set(broken) == set(missing) == {"file", "error"}
    assert set(broken["error"]) == set(missing["error"]) == {"kind", "message"}
    assert [answer["file"] for answer in (broken, new, missing)] == files
    assert new["label"] == "apple"
    assert new["top"][0] == {"label": new["label"], "probability": new["probability"]}
    assert sum(row["probability"] for row in new["top"]) == pytest.approx(1, abs=1e-4)


def test_predict_that_answers_nothing_has_failed(trained: Trained, tmp_path: Path, terminal: Terminal) -> None:
    (answer,) = terminal.json("predict", str(trained.run_dir), str(tmp_path / "missing.jpg"), code=2)
    assert answer["error"]["message"] == "There is no such file."


def test_evaluate_says_how_many_pictures_were_learned_from(trained: Trained, terminal: Terminal) -> None:
    found = terminal.json("evaluate", str(trained.run_dir), str(trained.data), "--split", "val")
    assert (found["leaked_images"], found["accuracy_without_leaked"]) == (found["images"], None)


def test_predict_takes_folders_and_says_it_in_words(trained: Trained, terminal: Terminal) -> None:
    lines = terminal.out("predict", str(trained.run_dir), str(trained.data / "Kirsche")).splitlines()
    assert len(lines) == 20
    assert sum("Kirsche" in line.partition("(")[0] for line in lines) >= 15


def test_a_threshold_is_kept_in_the_bundle_and_predict_says_not_sure_below_it(
    trained: Trained, tmp_path: Path, terminal: Terminal
) -> None:
    folder = shutil.copytree(trained.run_dir, tmp_path / "run")
    file = str(trained.data / "apple" / "000.jpg")
    assert terminal.out("threshold", str(folder)) == "The bundle has no threshold: every answer counts.\n"
    kept = terminal.json("threshold", str(folder), "1")
    assert set(kept) == {"threshold", "answered", "answered_interval", "right", "right_interval"}
    assert (kept["threshold"], kept["answered"], kept["right"], kept["right_interval"]) == (1, 0, None, None)
    assert "below 100\u202f% counts as" in (folder / "bundle" / "MODEL_CARD.md").read_text()
    assert terminal.out("predict", str(folder), file).startswith(f"{file}: not sure, perhaps apple ")
    (answer,) = terminal.json("predict", str(folder / "bundle"), file)
    assert (answer["label"], answer["sure"]) == ("apple", False)
    assert "Of 9 test pictures, 100\u202f% got an answer" in terminal.out("threshold", str(folder), "0.2").replace(
        "100 %", "100\u202f%"
    )
    assert terminal.json("predict", str(folder), file)[0]["sure"] is True
    assert main(["threshold", str(folder), "--clear"]) == 0
    assert '"sure"' not in terminal.out("predict", str(folder), file, "--json")
    assert "counts as" not in (folder / "bundle" / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["80"], "such as 0.8 for 80 %; 80 is none"), (["0.8", "--clear"], "not both"), ([], "There is no run at")],
)
def test_what_is_wrong_with_a_threshold_is_said(
    trained: Trained, tmp_path: Path, arguments: list[str], said: str, terminal: Terminal
) -> None:
    folder = trained.run_dir if arguments else tmp_path
    assert said in terminal.err("threshold", str(folder), *arguments)


@pytest.mark.parametrize("what", ["run", "bundle"])
def test_evaluate_on_the_own_test_split_repeats_the_report(trained: Trained, what: str, terminal: Terminal) -> None:
    run = trained.run_dir / "bundle" if what == "bundle" else trained.run_dir
    found = terminal.json("evaluate", str(run), str(trained.data), "--split", "test")
    assert set(found) == {
        "accuracy", "images", "interval", "macro_f1", "per_class", "leaked_images", "accuracy_without_leaked", "interval_without_leaked",
    }  # fmt: skip
    assert (found["leaked_images"], found["accuracy_without_leaked"], found["interval_without_leaked"]) == (
        0,
        None,
        None,
    )
    assert found["images"] == trained.result["test_images"]
    assert found["accuracy"] == pytest.approx(trained.result["test_accuracy"])
    assert found["macro_f1"] == pytest.approx(trained.result["macro_f1"])
    assert [row["name"] for row in found["per_class"]] == trained.result["classes"]


def test_evaluate_goes_by_the_split_that_the_bundle_holds(trained: Trained, tmp_path: Path, terminal: Terminal) -> None:
    bundle = shutil.copytree(trained.run_dir / "bundle", tmp_path / "bundle")
    record = SplitRecord.read(bundle / "split.json")
    train, val, test = (dict(record.parts[part]) for part in ("train", "val", "test"))
    moved = list(train)[:3]
    test |= {content: train.pop(content) for content in moved}
    # One of the pictures that are judged shows what a picture that is learned from does.
    test[moved[0]] = next(iter(train.values()))
    record.model_copy(update={"parts": {"train": train, "val": val, "test": test}}).write(bundle / "split.json")
    found = terminal.json("evaluate", str(bundle), str(trained.data), "--split", "test")
    assert (found["images"], found["leaked_images"]) == (12, 1)
    assert (
        found["interval_without_leaked"][0] <= found["accuracy_without_leaked"] <= found["interval_without_leaked"][1]
    )
    said = terminal.out("evaluate", str(bundle), str(trained.data))
    assert (
        "49 pictures of 60 show what it learned from as well, and may be named rightly for that. Without them:" in said
    )
    assert "right on 11 pictures" in said


def test_robustness_changes_the_test_pictures_of_the_run_and_says_what_hurts_most(
    trained: Trained, picture_folder: PictureFolder, tmp_path: Path, terminal: Terminal
) -> None:
    found = terminal.json("robustness", str(trained.run_dir), str(trained.data))
    assert set(found) == {"images", "of_images", "clean", "effects", "hurt_most"}
    assert found["images"] == found["of_images"] == trained.result["test_images"]
    assert found["clean"]["accuracy"] == pytest.approx(trained.result["test_accuracy"])
    assert [effect["corruption"] for effect in found["effects"]] == list(CORRUPTIONS)
    assert [at["strength"] for at in found["effects"][2]["strengths"]] == [
        CORRUPTIONS["jpeg"].said(at) for at in range(3)
    ]
    # Nine pictures of the test cannot show much, fifty that it has learned from can.
    said, aside = terminal.run(["robustness", trained.run_dir, trained.data, "--split", "all"], 0)
    assert "51 of the 60 pictures show what it learned from" in aside
    assert "60 pictures were changed and asked about again" in said
    assert "JPEG quality 8" in said
    assert "cost" in said
    strangers = picture_folder({"apple": 3, "<b>Birne": 4}, root=tmp_path / "others")
    assert "Use --split all to judge by all pictures." in terminal.err(
        "robustness", str(trained.run_dir), str(strangers)
    )


def test_evaluate_takes_all_of_a_folder_with_some_of_the_classes(
    trained: Trained, picture_folder: PictureFolder, terminal: Terminal
) -> None:
    data = picture_folder({"apple": 3, "<b>Birne": 4})
    found = terminal.json("evaluate", str(trained.run_dir), str(data))
    assert found["images"] == 7
    assert {row["name"]: row["support"] for row in found["per_class"]} == {"apple": 3, "<b>Birne": 4, "Kirsche": 0}
    assert "no test split of its own" in terminal.err("evaluate", str(trained.run_dir), str(data), "--split", "test")


def test_evaluate_names_the_classes_that_the_bundle_does_not_know(
    trained: Trained, picture_folder: PictureFolder, terminal: Terminal
) -> None:
    assert "'plum'" in terminal.err("evaluate", str(trained.run_dir), str(picture_folder({"apple": 3, "plum": 3})))


def test_an_exported_zip_answers_like_the_run(trained: Trained, tmp_path: Path, terminal: Terminal) -> None:
    target = tmp_path / "bundle.zip"
    assert terminal.json("export", str(trained.run_dir), "--out", str(target)) == {
        "file": str(target),
        "bytes": target.stat().st_size,
    }
    assert "is there already" in terminal.err("export", str(trained.run_dir), "--out", str(target))
    file = str(trained.data / "apple" / "000.jpg")
    places = (trained.run_dir, trained.run_dir / "bundle", target)
    of_run, of_bundle, of_zip = (terminal.json("predict", place, file) for place in places)
    assert of_run == of_bundle == of_zip


def test_lists_have_the_promised_fields(terminal: Terminal) -> None:
    backbones = {row["name"]: row for row in terminal.json("backbones")}
    assert {"efficientnet_lite0", "resnet18", "resnet50", "mobilenet_v3_large", "convnext_tiny"} <= set(backbones)
    assert backbones["efficientnet_lite0"]["available"] is True
    strategies = terminal.json("strategies")
    assert {"feature_extraction", "partial_fine_tuning", "full_fine_tuning"} <= {row["name"] for row in strategies}
    assert len(strategies) == 10
    for row in strategies:
        assert set(row) == {field.name for field in fields(Strategy)}
        assert set(row["recipe"]) == set(Recipe.model_fields)
        assert Recipe.model_validate(row["recipe"]) == strategy(row["name"]).recipe
    samples = {row["name"]: row for row in terminal.json("samples")}
    assert (samples["digits"]["images"], samples["digits"]["classes"]) == (1797, 10)
    for name, row in (("backbones", "resnet18"), ("strategies", "full_fine_tuning"), ("samples", "sample:digits")):
        assert row in terminal.out(name)


def test_a_run_in_a_workspace_is_seen_there(
    store: Path, tmp_path: Path, picture_folder: PictureFolder, exported: Callable[[int], Path]
) -> None:
    lend(exported(SIZE), store / "cache")
    token = "0123456789abcdef" * 2
    (tmp_path / "token").write_text(f"{token}\n")
    data = picture_folder({"a": 8, "b": 8})
    done = run(store, "train", data, "--image-size", str(SIZE), "--workspace", f"@{tmp_path / 'token'}")
    assert done.returncode == 0, done.stderr
    workspace = Store(store).workspace(token)
    (found,) = workspace.runs()
    (dataset,) = workspace.datasets()
    assert found.status().state == dataset.status().state == "succeeded"
    assert str(found.path) in done.stdout
    assert "right on" in done.stdout
    assert "to" in done.stdout.splitlines()[0]


def test_what_cannot_go_on_is_said_in_words(
    trained: Trained, tmp_path: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_STORE", str(trained.store))
    assert "ended well" in terminal.err("resume", str(trained.run_dir))
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert terminal.json("resume", str(folder), code=2)["error"]["kind"] == "not_found"
