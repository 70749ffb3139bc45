"""Documents say all that is wrong with a file at once, are never half written, and never name a path."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from tl_core.data.checks import findings
from tl_core.documents.events import EVENT, Progress
from tl_core.documents.job import SpecFile
from tl_core.documents.manifest import ImageEntry, Manifest
from tl_core.documents.options import Recipe
from tl_core.documents.questions.about_backbones import MeasureSpec
from tl_core.documents.spec import Extended, IngestSpec, TrainSpec
from tl_core.documents.split_record import SplitRecord
from tl_core.documents.status import Status
from tl_core.documents.suspect_label import Suspicion
from tl_core.errors import DiskFull, DocumentError, NotFound


def manifest(**changes: object) -> Manifest:
    image = {"sha256": "00", "label": 0, "name": "cat/1.jpg", "file": "000001.jpg", "width": 8, "height": 8}
    return Manifest.model_validate(
        {"name": "pets", "created": 0.0, "source": "pets", "classes": ["cat", "dog"], "images": [image | changes]}
    )


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    spec = TrainSpec(name="a", workspace="0" * 32, dataset="1", weights="w", image_size=224)
    SpecFile(spec=spec).write(tmp_path / "new" / "spec.json")
    assert SpecFile.read(tmp_path / "new" / "spec.json").spec == spec
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["spec.json"]


@pytest.mark.parametrize(("rate", "expected"), [(0.02, 0.02), (None, Recipe().learning_rate)])
def test_the_spec_of_a_run_from_before_there_were_recipes_is_read(rate: float | None, expected: float) -> None:
    old = {
        "schema_version": 1, "job": "train", "name": "pets", "workspace": "0" * 32, "dataset": "1" * 16,
        "backbone": "resnet18", "weights": "IMAGENET1K_V1", "strategy": "full_fine_tuning", "stages": 2, "epochs": 5,
        "image_size": 224, "seed": 0, "device": "cpu", "batch_size": 32, "micro_batch": 16, "precision": "float32",
        "channels_last": True, "learning_rate": rate,
    }  # fmt: skip
    spec = SpecFile.parse(json.dumps({"schema_version": 1, "spec": old}), "spec.json").spec
    assert isinstance(spec, TrainSpec)
    assert (spec.epochs, spec.recipe.learning_rate, spec.solver) == (5, expected, "logistic")


def test_what_an_earlier_version_measured_is_found_again() -> None:
    spec = MeasureSpec(
        backbone="resnet18", weights="IMAGENET1K_V1", strategy="lora", image_size=224, classes=0, device="cpu"
    )
    assert spec.model_dump_json() == (
        '{"schema_version":1,"job":"measure","backbone":"resnet18","weights":"IMAGENET1K_V1","strategy":"lora","stages":2,'
        '"image_size":224,"classes":0,"device":"cpu","precision":"float32","batch_size":32,"micro_batch":32,"lora_rank":8}'
    ), "the text is part of the cache key of each measurement"


def test_the_learning_rate_keeps_its_name_on_disk_and_former_names_of_options_are_read(tmp_path: Path) -> None:
    spec = TrainSpec(
        name="a", workspace="", dataset="1", weights="w", image_size=224, recipe=Recipe(learning_rate=0.02),
        changes={"learning_rate": 0.02},
    )  # fmt: skip
    SpecFile(spec=spec).write(tmp_path / "spec.json")
    written = json.loads((tmp_path / "spec.json").read_text())["spec"]
    assert (written["recipe"]["head_rate"], written["changes"]) == (0.02, {"head_rate": 0.02})
    written["changes"] = {"learning_rate": 0.02}
    assert SpecFile.parse(json.dumps({"schema_version": 1, "spec": written}), "spec.json").spec == spec


def test_the_spec_of_a_run_says_that_its_device_and_strategy_may_be_open_and_one_from_before_is_read(
    tmp_path: Path,
) -> None:
    spec = TrainSpec(name="a", workspace="", dataset="1", weights="w", image_size=224, strategy="default")
    SpecFile(spec=spec).write(tmp_path / "spec.json")
    written = json.loads((tmp_path / "spec.json").read_text())
    assert written["spec"]["schema_version"] == 5
    for before in (4, 3, 1):
        written["spec"]["schema_version"] = before
        assert SpecFile.parse(json.dumps(written), "spec.json").spec == spec.model_copy(
            update={"schema_version": before}
        )
    del written["spec"]["version"]
    read = SpecFile.parse(json.dumps(written), "spec.json").spec
    assert isinstance(read, TrainSpec)
    assert read.version == 1, "it is about what was read"


@pytest.mark.parametrize("group", [-1, 10**30])
def test_a_split_with_groups_that_are_no_numbers_of_groups_is_refused(group: int) -> None:
    text = json.dumps({"parts": {"train": {"0" * 64: group}}})
    with pytest.raises(DocumentError, match=r"split\.json is not a valid SplitRecord"):
        SplitRecord.parse(text, "split.json")


def test_the_specs_and_manifests_from_before_data_sets_were_extended_are_read() -> None:
    extended = Extended(workspace="0" * 32, dataset="1" * 16)
    spec = IngestSpec(name="pets", source_kind="folder", source="/pets", extends=extended)
    assert SpecFile.parse(SpecFile(spec=spec).model_dump_json(), "spec.json").spec == spec
    old = {name: value for name, value in spec.model_dump().items() if name != "extends"} | {"schema_version": 1}
    read = SpecFile.parse(json.dumps({"schema_version": 1, "spec": old}), "spec.json").spec
    assert isinstance(read, IngestSpec)
    assert read.extends is None
    dumped = {name: value for name, value in manifest().model_dump().items() if name != "former"}
    assert Manifest.parse(json.dumps(dumped | {"schema_version": 2}), "manifest.json").added == ()


def test_the_specs_and_manifests_from_before_groups_were_looked_for_are_read() -> None:
    old = {name: value for name, value in manifest().model_dump().items() if name != "grouped"} | {"schema_version": 3}
    for image in old["images"]:
        del image["group"]
    read = Manifest.parse(json.dumps(old), "manifest.json")
    assert (read.grouped, [image.group for image in read.images]) == (False, [None])
    spec = IngestSpec(name="pets", source_kind="folder", source="/pets")
    was = {name: value for name, value in spec.model_dump().items() if name != "groups"} | {"schema_version": 2}
    assert SpecFile.parse(json.dumps({"schema_version": 1, "spec": was}), "spec.json").spec == spec.model_copy(
        update={"schema_version": 2}
    )


def test_a_manifest_from_before_users_could_give_groups_is_read() -> None:
    old = manifest().model_dump() | {"schema_version": 5}
    for image in old["images"]:
        del image["given_group"]
    assert [image.given_group for image in Manifest.parse(json.dumps(old), "manifest.json").images] == [None]


def test_a_manifest_from_before_labels_were_judged_is_read_and_one_of_today_keeps_what_was_found() -> None:
    old = manifest().model_dump() | {"schema_version": 4}
    for image in old["images"]:
        del image["suspicion"]
    assert [image.suspicion for image in Manifest.parse(json.dumps(old), "manifest.json").images] == [None]
    suspicion = Suspicion(label="cat", suggested="dog", label_probability=0.01, suggested_probability=0.9)
    (image,) = manifest().images
    judged = manifest().model_copy(update={"images": (image.model_copy(update={"suspicion": suspicion}),)})
    assert Manifest.parse(judged.model_dump_json(), "manifest.json") == judged


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(json.dumps({"state": "asleep", "started": "noon", "extra": 1}))
    with pytest.raises(DocumentError) as raised:
        Status.read(tmp_path / "status.json")
    for word in ("status.json", "state", "started", "extra"):
        assert word in raised.value.message


def test_a_missing_file_and_a_cut_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no status\.json"):
        Status.read(tmp_path / "status.json")
    (tmp_path / "status.json").write_text('{"state": "runn')
    with pytest.raises(DocumentError):
        Status.read(tmp_path / "status.json")


def test_a_full_disk_leaves_the_old_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "status.json"
    Status(state="running").write(path)

    def full(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFull, match=r"status\.json"):
        Status(state="succeeded").write(path)
    assert Status.read(path).state == "running"
    assert [entry.name for entry in tmp_path.iterdir()] == ["status.json"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/b.jpg", "..", "a.jpg\n", "a.svg"])
def test_a_manifest_never_names_a_path(name: str) -> None:
    with pytest.raises(ValueError, match="file"):
        manifest(file=name)


def test_a_data_set_of_version_1_keeps_what_is_said_of_it() -> None:
    image = {"label": 0, "name": "cat/1.jpg", "file": "000001.jpg", "width": 8, "height": 8, "crc32": 7}
    old = {
        "schema_version": 1, "name": "pets", "created": 0.0, "source": "pets", "classes": ["cat", "dog"], "copies": 1,
        "images": [
            image | {"sha256": "00", "split": "train"}, image | {"sha256": "00", "split": "train", "label": 1},
            image | {"sha256": "11", "split": "train"}, image | {"sha256": "11", "split": "test", "name": "cat/2.jpg"},
        ],
        "refused": [{"file": "x.jpg", "kind": "empty", "message": "The file is empty."}], "passed_over": 2,
        "dropped_duplicates": 3, "conflicts": [[0, 1]], "leaks": [[2, 3]], "folded_folders": 1, "licence": None, "note": None,
    }  # fmt: skip
    manifest = Manifest.parse(json.dumps(old), "manifest.json")
    found = {finding.kind: finding for finding in findings(manifest)}
    assert found["two_labels"].rows == (0, 1)
    assert found["copy_across_splits"].rows == (2, 3)
    assert "left out: 3" in found["exact_copy"].message
    assert {"refused", "passed_over", "folded_folders"} <= set(found)
    assert not {"conflicts", "leaks"} & manifest.model_dump().keys()


@pytest.mark.parametrize("label", [-1, 2, 99])
def test_every_label_names_a_class(label: int) -> None:
    with pytest.raises(ValueError, match="label"):
        manifest(label=label)


def test_counts_are_in_class_order_and_name_empty_classes() -> None:
    assert list(manifest().counts().items()) == [("cat", 1), ("dog", 0)]
    assert isinstance(manifest().images[0], ImageEntry)


def test_an_event_is_one_line_that_says_its_type() -> None:
    line = EVENT.dump_json(Progress(stage="features", done=1, total=2))
    assert b"\n" not in line
    assert EVENT.validate_json(line) == EVENT.validate_json(line)
    assert isinstance(EVENT.validate_json(line), Progress)
