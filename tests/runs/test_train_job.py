"""Real training runs with real pretrained weights, in real workers: what becomes of them, stopped or not."""

import shutil
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import until
from tests.runs.conftest import SIZE, SMALL, ended, epochs, failure, kill, notices
from tests.runs.executors import InProcess, by
from tl_core.data.split import NO_PART, assign
from tl_core.documents.events import Event, Notice, RegularisationTried, StageStarted
from tl_core.documents.manifest import ImageEntry, SplitRecord
from tl_core.documents.report import Accuracy
from tl_core.errors import DocumentError, NotFound
from tl_core.evaluation.calibration import reliability, top_label
from tl_core.evaluation.metrics import probabilities
from tl_core.models.graphs import export
from tl_core.models.registry import network
from tl_core.runs.finished import summarise
from tl_core.runs.process import local
from tl_core.runs.process.executor import Executor, chosen
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Workspace
from tl_core.runs.train import fine_tune
from tl_core.runs.train import plan as planning
from tl_core.runs.train.plan import Plan
from tl_core.runs.train_job import train_job
from tl_core.serving.bundle_files import TENSORS
from tl_core.serving.predictor import Predictor

HERE = InProcess({"train": train_job})


def test_a_fitted_head_learns_and_its_report_is_what_its_bundle_says(pets: DatasetFolder, pets_run: RunFolder) -> None:
    run, report, summary, manifest = pets_run, pets_run.report(), summarise(pets_run), pets.manifest()
    assert report.test.accuracy > 0.8
    assert report.images == {"train": 42, "val": 9, "test": 9}
    assert report.val.images == 51
    assert report.val_out_of_fold

    held_out = np.flatnonzero(assign(manifest, 3) == "test")
    assert [answer.row for answer in report.answers] == held_out.tolist()
    said = Predictor(run.bundle).predict([pets.image(manifest.images[row]) for row in held_out])
    for answer, entry in zip(report.answers, said, strict=True):
        assert entry["label"] == report.classes[answer.predicted]
        assert entry["probability"] == pytest.approx(answer.probability, abs=1e-3)

    assert (report.headline, report.shown) == ("cross_validated", report.cross_validated)
    assert report.shown.images == 60
    assert run.headline().shown == Accuracy.model_validate(report.shown.model_dump())
    assert summary.cv_accuracy == report.shown.accuracy
    kept, labels = run.out_of_fold(), np.array([image.label for image in manifest.images])
    assert kept.rows.tolist() == np.flatnonzero(assign(manifest, 3) != "test").tolist()
    assert (kept.probabilities.argmax(axis=1) == labels[kept.rows]).mean() == report.val.accuracy
    assert (kept.nested.argmax(axis=1) == labels).mean() == report.shown.accuracy
    assert kept.nested[held_out].argmax(axis=1).tolist() == [answer.predicted for answer in report.answers]

    tried = [event for event in run.events()[0] if isinstance(event, RegularisationTried) and event.best]
    assert report.val.accuracy == summary.val_accuracy == tried[-1].val_accuracy
    assert any(message.startswith("From here it should take ") for message in notices(run))
    assert not run.best.exists()
    assert not (run.path / "workshop").exists()
    card = (run.bundle / "MODEL_CARD.md").read_text()
    for words in (
        "right on 60 pictures, cross-validated (",
        "The test pictures alone: ",
        "42 training pictures and 9 val",
    ):
        assert words in card
    assert run.spec().device == summary.device != "auto", "the device is found where the job runs"
    assert (summary.strategy, summary.trainable_parameters) == ("feature_extraction", 1281 * 3)
    assert summary.seconds["features"] > 0


def _write_grouped(data: DatasetFolder, images: Sequence[ImageEntry]) -> None:
    """Replace the pictures of `data` by these, whose groups were looked for."""
    data.manifest().model_copy(update={"images": tuple(images), "grouped": True}).write(data.manifest_file)


def test_a_class_of_one_moment_leaves_a_run_without_a_headline(
    pets: DatasetFolder, trained: Callable[..., RunFolder]
) -> None:
    manifest = pets.manifest()
    cats = [image.model_copy(update={"group": 0} if image.label == 0 else {}) for image in manifest.images]
    _write_grouped(pets, cats)
    run = trained()
    report, said = run.report(), run.headline()
    assert (report.headline, report.one_moment, report.shown) == (None, ("cat",), None)
    assert (said.shown, said.one_moment, report.cross_validated) == (None, ("cat",), None)
    assert report.leak is None, "without the cats, the other classes alone would be judged"
    assert report.images == {"train": 40, "val": 9, "test": 9}, "the two pictures beside the cuts are left out"
    summary = summarise(run)
    assert (summary.headline, summary.one_moment, summary.cv_accuracy) == (None, ("cat",), None)
    card = (run.bundle / "MODEL_CARD.md").read_text()
    assert "All of one moment: record cat again elsewhere" in card
    assert "cross-validated" not in card


def test_pictures_added_to_a_class_of_one_moment_give_a_headline_without_those_beside_its_cuts(
    pets: DatasetFolder, trained: Callable[..., RunFolder]
) -> None:
    manifest = pets.manifest()
    old = [image.model_copy(update={"group": 0}) for image in manifest.images[:12]]
    images = (*old, *manifest.images[20:], *manifest.images[12:20])
    _write_grouped(pets, images[:52])
    pets.versions.add(2, 1, manifest.model_copy(update={"images": images, "grouped": True}))
    grown = pets.manifest()
    parts = assign(grown, 0)
    assert (parts == NO_PART).sum() == 2
    run = trained()
    report, kept = run.report(), run.out_of_fold()
    assert (report.headline, report.one_moment) == ("cross_validated", ())
    assert report.cross_validated.images == 58 == sum(report.images.values())
    labels = np.array([image.label for image in grown.images])[parts != NO_PART]
    assert (kept.nested.argmax(axis=1) == labels).mean() == report.cross_validated.accuracy


def test_a_leak_in_the_users_own_split_is_counted_and_judged_without(
    pets: DatasetFolder, trained: Callable[..., RunFolder]
) -> None:
    manifest = pets.manifest()
    images = [
        image.model_copy(update={"split": "test" if row % 20 < 5 else "train", "group": row // 20 if row % 20 in (0, 5) else None})
        for row, image in enumerate(manifest.images)
    ]  # fmt: skip
    _write_grouped(pets, images)
    run = trained()
    report, summary = run.report(), summarise(run)
    assert (report.test.images, report.leak.images, report.leak.without.images) == (15, 3, 12)
    right = [answer.truth == answer.predicted for answer in report.answers if answer.row % 20 != 0]
    assert report.leak.without.accuracy == sum(right) / 12 == summary.test_accuracy_without_leaked
    assert (summary.leaked_images, summary.test_interval_without_leaked) == (3, report.leak.without.interval)
    assert "3 pictures of 15 show what it learned from as well" in (run.bundle / "MODEL_CARD.md").read_text()


def test_a_run_and_its_bundle_keep_the_split_and_read_it_again(pets: DatasetFolder, pets_run: RunFolder) -> None:
    before = Plan(pets_run).splits.tolist()
    kept = SplitRecord.read(pets_run.split_file)
    assert SplitRecord.read(pets_run.bundle / "split.json") == kept
    assert {part: len(pictures) for part, pictures in kept.parts.items()} == {"train": 42, "val": 9, "test": 9}
    manifest = pets.manifest()
    _write_grouped(pets, [image.model_copy(update={"group": row // 2}) for row, image in enumerate(manifest.images)])
    assert assign(pets.manifest(), 3).tolist() != before
    assert Plan(pets_run).splits.tolist() == before


@pytest.mark.parametrize("place", ["tests.runs.served:Served"], indirect=True)
def test_a_run_is_the_same_wherever_it_is_trained(
    workspace: Workspace, pets: DatasetFolder, pets_run: RunFolder, place: Executor
) -> None:
    run = jobs.submit_training(workspace, pets, image_size=SIZE, seed=3)
    assert ended(run) == "succeeded"
    assert run.report() == pets_run.report()
    # What the first run decoded and looked at is kept for the second.
    first, second = (trained.spec().expected for trained in (pets_run, run))
    assert 0 < sum(second.seconds.values()) < sum(first.seconds.values())


def test_a_cache_that_lets_go_of_the_backbone_meanwhile_stops_no_run(
    store: Path, exported: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, trained: Callable[..., RunFolder]
) -> None:
    (kept,) = (exported(SIZE) / "backbones").iterdir()
    monkeypatch.setattr(export, "_fill", lambda *arguments: shutil.copytree(kept, arguments[-1]))

    def forgetful(run: RunFolder) -> Generator[Event, None, None]:
        for event in train_job(run):
            if isinstance(event, RegularisationTried):
                shutil.rmtree(store / "cache" / "backbones" / kept.name, ignore_errors=True)
            yield event

    trained(InProcess({"train": forgetful}))


def test_memory_that_will_not_do_is_said_before_training_with_what_would(
    monkeypatch: pytest.MonkeyPatch, trained: Callable[..., RunFolder]
) -> None:
    monkeypatch.setattr(planning, "available_mb", lambda device: 650.0)

    def until_warned(run: RunFolder) -> Generator[Event, None, None]:
        for event in train_job(run):
            yield event
            if isinstance(event, Notice) and event.level == "warning":
                return

    run = trained(InProcess({"train": until_warned}), strategy="full_fine_tuning")
    warning = notices(run)[-1]
    assert warning.startswith("This needs about ")
    assert "It would fit with " in warning
    assert [event.stage for event in run.events()[0] if isinstance(event, StageStarted)] == ["preparing"]


def test_steps_repeated_with_the_same_seed_give_the_same_network(
    store: Path, trained: Callable[..., RunFolder]
) -> None:
    """Nothing of it is decided by how fast the machine was just then: neither the memory layout nor what is kept of frozen stages."""
    runs = []
    for executor in (chosen(), None):
        run = trained(executor, backbone=SMALL, strategy="partial_fine_tuning", epochs=1)
        runs.append((run.report(), run.spec().views_kept, (run.bundle / TENSORS).read_bytes()))
        shutil.rmtree(store / "cache" / "activations")
    assert runs[0] == runs[1]


def test_a_report_says_how_far_probabilities_held_before_and_after_they_were_scaled(
    pets: DatasetFolder, pets_run: RunFolder
) -> None:
    report, predictor, entries = pets_run.report(), Predictor(pets_run.bundle), pets.manifest().images
    shown = np.stack([predictor.pixels(pets.image(entries[answer.row])) for answer in report.answers])
    truth, logits = np.array([answer.truth for answer in report.answers]), predictor.logits(shown)
    for said, scores in (
        (report.calibration.after, logits),
        (report.calibration.before, logits * predictor.info.temperature),
    ):
        again = reliability(*top_label(probabilities(scores), truth))
        assert said.ece == pytest.approx(again.ece, abs=1e-3)
    assert report.calibration.before != report.calibration.after
    assert report.test.value("ece") == report.calibration.after.ece


def test_an_original_picture_gets_the_answer_of_its_copy_in_the_data_set(
    pets: DatasetFolder, pets_run: RunFolder, kept_run: Path
) -> None:
    predictor, entries = Predictor(pets_run.bundle), pets.manifest().images
    places = ([pets.image(entry) for entry in entries], [kept_run / "pictures" / entry.name for entry in entries])
    copies, originals = (
        probabilities(predictor.logits(np.stack([predictor.pixels(file) for file in files]))) for files in places
    )
    assert (copies.argmax(axis=1) == originals.argmax(axis=1)).all()
    assert np.abs(copies - originals).max() < 0.02


def test_whole_network_training_ends_in_a_bundle_of_its_own_weights(
    pets: DatasetFolder, trained: Callable[..., RunFolder]
) -> None:
    run = trained(backbone=SMALL, strategy="full_fine_tuning", epochs=1)
    report = run.report()
    assert report.trainable_parameters == report.total_parameters
    assert (report.headline, report.cross_validated, report.val_out_of_fold) == ("test", None, False)
    with pytest.raises(NotFound):
        run.out_of_fold()
    assert run.spec().channels_last is (run.spec().device in network(SMALL).layout.channels_last)
    assert epochs(run) == [0, 1]
    answers = Predictor(run.bundle).predict([pets.image(pets.manifest().images[a.row]) for a in report.answers])
    assert [answer["label"] for answer in answers] == [report.classes[a.predicted] for a in report.answers]


def test_a_killed_run_is_finished_with_its_best_state(workspace: Workspace, pets: DatasetFolder) -> None:
    run = jobs.submit_training(
        workspace, pets, backbone=SMALL, strategy="partial_fine_tuning", stages=4, epochs=500, image_size=SIZE
    )
    until(lambda: any(epochs(run)))
    kill(local._workers[run.path].pid, run)
    assert "finish with the best so far" in run.status().failure.message
    assert run.can_finish()
    assert pets.status().state == "succeeded"

    assert by(HERE, jobs.go_on, run, "best") == run
    assert ended(run) == "succeeded"
    assert run.report().test.accuracy > 0.8
    assert any("best state" in message for message in notices(run))
    assert not run.can_finish()


@pytest.mark.parametrize("left", [b"", b"\x10" + bytes(30), b"noise" * 9])
def test_a_damaged_best_state_is_said_in_words(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "best.safetensors").write_bytes(left)
    with pytest.raises(DocumentError, match="Start it again"):
        fine_tune.saved_tensors(RunFolder(tmp_path), "best")


def test_missing_weights_end_a_run_in_words(
    workspace: Workspace, pets: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    # A proxy that is not there: no request of the worker's gets out, whatever this machine's network is.
    for variable in ("http_proxy", "https_proxy", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    run = jobs.submit_training(workspace, pets, backbone="resnet18")
    list(jobs.follow(run))
    assert failure(run).kind == "weights_unavailable"
    assert "efficientnet_lite0" in failure(run).message
