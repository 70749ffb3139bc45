"""What the tasks answer: filters and maps, reviewed labels, previews, a learning rate, a map of pictures, evidence, a described network, where a run fails, ranked backbones."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.conftest import lend
from tests.gpus import L4, T4
from tests.runs.conftest import SIZE, SMALL, Machine, ended, forget, read, titles
from tests.runs.executors import InProcess, by
from tests.runs.tasks.conftest import CarryOut
from tests.training.twin import finish
from tl_core.data.cache import Cache
from tl_core.data.pixel_arrays import load_pixels
from tl_core.data.split import assign
from tl_core.disk import remove
from tl_core.documents.bundle_info import BundleInfo
from tl_core.documents.events import Event, Notice, Progress
from tl_core.documents.options import Recipe, TrainingOptions
from tl_core.documents.tasks import (
    BROUGHT,
    DescribeSpec,
    EvidenceSpec,
    FeatureMaps,
    FeatureMapsSpec,
    LabelReview,
    LabelReviewSpec,
    PictureEvidence,
    PictureMap,
    PictureMapSpec,
    PreviewSpec,
    Ranking,
    RankSpec,
    RateCurve,
    RunSlices,
    SlicesSpec,
)
from tl_core.errors import NotFound, SpecError
from tl_core.evaluation import slice_search
from tl_core.models.registry import Network, network, networks
from tl_core.runs import grouping
from tl_core.runs.grouping import judge
from tl_core.runs.process.executor import known_device
from tl_core.runs.start.training_spec import rate_task
from tl_core.runs.store.budgets import expected_bytes
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store, Workspace, new_token
from tl_core.runs.tasks import label_review, picture_map, rank
from tl_core.runs.tasks.ask import ask
from tl_core.runs.tasks.slices import run_embeddings
from tl_core.runs.tasks.subject import task_about
from tl_core.runs.train.plan import Plan, settled
from tl_core.runs.worker import JOBS
from tl_core.serving.bundle import read_bundle
from tl_core.serving.bundle_files import INFO
from tl_core.serving.predictor import Predictor
from tl_core.training.frozen.features import features_key
from tl_core.training.strategies.strategies import Setup
from tl_core.training.transferability import transferability


def test_a_backbone_is_looked_into(workspace: Workspace, pets: DatasetFolder, carry_out: CarryOut) -> None:
    about = {"workspace": workspace.token, "dataset": pets.id, "backbone": "efficientnet_lite0", "image_size": SIZE}
    task = carry_out(FeatureMapsSpec(**about, row=1))
    look = task.answer(FeatureMaps)
    assert look.maps
    assert look.filters is not None
    for file in (look.picture, look.filters, *(each.file for each in look.maps)):
        with Image.open(task.path / file) as picture:
            assert picture.width > 0
            assert file != look.picture or picture.size == (SIZE, SIZE)
    missing = by(InProcess(JOBS), ask, workspace, FeatureMapsSpec(**about, row=60))
    assert "no picture number 60 in this data set; it has 60" in ended(missing)


def test_labels_are_reviewed_by_heads_that_have_not_seen_the_picture_or_by_what_a_run_kept_of_them(
    workspace: Workspace,
    pets: DatasetFolder,
    pets_run: RunFolder,
    store: Path,
    exported: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
    carry_out: CarryOut,
) -> None:
    def review() -> LabelReview:
        return carry_out(LabelReviewSpec(workspace=workspace.token, dataset=pets.id)).answer(LabelReview)

    lend(exported(224), store / "cache")
    labels, kept = np.array([image.label for image in pets.manifest().images]), pets_run.out_of_fold()
    pets_run.out_of_fold_file.unlink()
    by_heads = review()
    assert by_heads.accuracy == by_heads.growth.accuracies[-1] > 0.8
    assert 0.8 * len(labels) == pytest.approx(by_heads.growth.sizes[-1], rel=0.1)
    assert all(labels[suspect.row] == suspect.label != suspect.suggested for suspect in by_heads.suspects)

    judged: list[int] = []
    monkeypatch.setattr(label_review, "judge", lambda *given, **more: judged.append(1) or judge(*given, **more))
    nested = kept.nested.copy()
    nested[5] = np.eye(3)[(labels[5] + 1) % 3]
    dataclasses.replace(kept, nested=nested).write(pets_run.out_of_fold_file)
    by_run = review()
    assert not judged, "the run has answered"
    assert by_run.accuracy == (nested.argmax(axis=1) == labels).mean()
    assert by_run.growth.sizes == by_heads.growth.sizes
    assert (by_run.suspects[0].row, by_run.suspects[0].suggested) == (5, (labels[5] + 1) % 3)
    look = by_run.lookalikes[0]
    assert [labels[row] for row in look.of_label] == [labels[5]] * 3
    assert [labels[row] for row in look.of_suggested] == [by_run.suspects[0].suggested] * 3
    assert 5 not in look.of_label
    trained = pets_run.spec()
    for unfit in ({"backbone": SMALL}, {"recipe": Recipe(class_weights=True)}, {"dataset": "0" * 16}):
        pets_run.write_spec(trained.model_copy(update=unfit))
        review()
    assert len(judged) == 3


def test_each_level_of_augmentation_is_shown_in_the_same_way_again(
    workspace: Workspace, pets: DatasetFolder, carry_out: CarryOut
) -> None:
    spec = PreviewSpec(workspace=workspace.token, dataset=pets.id, rows=(0, 13), copies=2, image_size=48)
    files = [{file.name: file.read_bytes() for file in carry_out(spec).path.glob("*.jpg")} for _ in range(2)]
    levels = ("none", "light", "medium", "strong")
    assert files[0].keys() == {f"{level}-{row}-{copy}.jpg" for level in levels for row in (0, 13) for copy in (0, 1)}
    assert files[0] == files[1]
    with Image.open(carry_out(spec).path / "none-13-0.jpg") as picture:
        assert picture.size == (48, 48)
    assert [files[0][f"{level}-13-0.jpg"] == files[0][f"{level}-13-1.jpg"] for level in levels] == [True, *[False] * 3]
    pets.image(pets.manifest().images[0]).unlink()
    for earlier in workspace.tasks():
        earlier.delete()
    assert "The copy of cat/000.jpg in this data set is missing" in ended(by(InProcess(JOBS), ask, workspace, spec))


def test_a_learning_rate_is_found_for_stages(pets: DatasetFolder, carry_out: CarryOut) -> None:
    options = TrainingOptions(backbone=SMALL, strategy="partial_fine_tuning", stages=1, image_size=SIZE, device="cpu")
    task = carry_out(rate_task(options, pets))
    curve = task.answer(RateCurve)
    assert len(curve.rates) == len(curve.losses) > 10
    assert curve.rates[0] < curve.suggested < 1
    assert not (task.path / "run").exists()
    with pytest.raises(SpecError, match="auto"):
        rate_task(TrainingOptions(strategy="auto"), pets)


def test_a_rate_is_found_as_the_card_computes_that_the_test_was_given(
    machine: Machine, workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine({"GPU-1": L4, "GPU-2": T4})
    options = TrainingOptions(strategy="lp_ft", device="cuda")
    first = rate_task(options, dataset)
    assert first.train.precision == "bfloat16"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-2")
    forget()
    asked, other = (spec.canonical(known_device) for spec in (first, rate_task(options, dataset)))
    assert asked == other, "one task, whichever card was expected"
    assert settled(Setup.of(asked.train), dataset).spec.precision == "float16"


def test_every_picture_has_a_place_on_the_map_and_more_than_fit_are_sampled(
    workspace: Workspace,
    pets: DatasetFolder,
    store: Path,
    exported: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
    carry_out: CarryOut,
) -> None:
    lend(exported(224), store / "cache")
    spec, labels = (
        PictureMapSpec(workspace=workspace.token, dataset=pets.id),
        [image.label for image in pets.manifest().images],
    )
    drawn = carry_out(spec).answer(PictureMap)
    assert drawn.rows == tuple(range(60))
    assert len(drawn.x) == len(drawn.y) == 60
    monkeypatch.setattr(picture_map, "MOST", 25)
    sample = carry_out(spec).answer(PictureMap)
    assert len(set(sample.rows)) == 25
    assert list(sample.rows) == sorted(sample.rows)
    for row, other, near in zip(sample.rows, sample.other, sample.lookalikes, strict=True):
        assert {labels[place] for place in near.of_label} == {labels[row]}
        assert {labels[place] for place in near.of_suggested} == {other} != {labels[row]}
        assert set(near.of_label) | set(near.of_suggested) <= set(sample.rows)
    monkeypatch.setattr(picture_map, "FEWEST", 61)
    few = by(InProcess(JOBS), ask, workspace, spec.model_copy(update={"version": 1, "weights": "DEFAULT"}))
    assert "61 pictures at least, and there are 60" in ended(few)


def test_the_evidence_in_a_picture_is_what_the_bundle_says_where_its_logits_are_linear(
    pets: DatasetFolder, pets_run: RunFolder, carry_out: CarryOut
) -> None:
    task = carry_out(task_about(pets_run, EvidenceSpec, row=2, classes=(1, 0)))
    evidence = task.answer(PictureEvidence)
    assert [each.label for each in evidence.classes] == [1, 0]
    model = Predictor(read_bundle(pets_run.bundle))
    pixels = model.pixels(pets.image(pets.manifest().images[2]))
    # Gradients must give what the app reads off the bundle, but for the mean over the positions.
    positions = np.array(evidence.classes[0].positions)
    exact = model.insight(pixels).evidence[1] / positions.size
    assert np.allclose(positions, exact, atol=0.02 * np.abs(exact).max())


def test_a_picture_that_somebody_brought_is_gone_afterwards(
    workspace: Workspace, pets_run: RunFolder, carry_out: CarryOut
) -> None:
    size = read_bundle(pets_run.bundle).info.image_size
    folder = workspace.staging()
    Image.new("RGB", (size, size), (200, 30, 30)).save(folder / BROUGHT)
    spec = task_about(pets_run, EvidenceSpec, brought=folder.name, classes=(0,))
    task = carry_out(spec)
    assert not folder.exists()
    assert not list(task.path.glob("*.png"))
    task.delete()
    assert "Bring it again" in ended(by(InProcess(JOBS), ask, workspace, spec))


def test_a_network_that_was_added_by_name_is_listed_where_it_was_added_and_looked_up_anew_elsewhere(
    workspace: Workspace, carry_out: CarryOut
) -> None:
    other = Store.default().workspace(new_token())
    carry_out(DescribeSpec(network=SMALL))
    assert SMALL in workspace.backbones()
    assert not any(
        SMALL in table for table in (other.backbones(), networks(), Store.default().command_line_backbones())
    )
    assert network(SMALL).name == SMALL, "runs with it find it by its name"
    asked = by(InProcess(JOBS), ask, other, DescribeSpec(network=SMALL))
    assert f"Looking at timm's {SMALL}" in titles(asked)
    assert SMALL in other.backbones()


def test_another_bundle_of_a_run_is_another_task_and_what_is_gone_is_said_in_words(
    workspace: Workspace, pets: DatasetFolder, pets_run: RunFolder
) -> None:
    spec = task_about(pets_run, SlicesSpec)
    assert spec.about == (workspace.token, pets.id, 1, pets_run.id)
    assert task_about(pets_run, SlicesSpec) == spec
    info = BundleInfo.read(pets_run.bundle / INFO)
    info.model_copy(update={"created": info.created + 1}).write(pets_run.bundle / INFO)
    assert task_about(pets_run, SlicesSpec) != spec
    remove(pets_run.report_file)
    for refused in (lambda: task_about(pets_run, SlicesSpec), lambda: ask(workspace, spec)):
        with pytest.raises(NotFound, match="no result that could be looked at"):
            refused()
    pets_run.delete()
    with pytest.raises(NotFound, match=r"no such run in this workspace\. It may have been deleted"):
        ask(workspace, spec)
    pets.delete()
    with pytest.raises(NotFound, match="no such run in this workspace"):
        ask(workspace, spec)


def test_pictures_of_one_kind_lie_together_and_the_map_is_the_same_again() -> None:
    kinds = np.arange(90) % 3
    features = np.random.default_rng(0).normal(size=(90, 64)) + 12 * np.eye(64)[kinds]
    places = picture_map.arranged(features)
    assert places.shape == (90, 2)
    assert np.array_equal(places, picture_map.arranged(features))
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + np.diag(np.full(90, np.inf))
    assert (kinds[distances.argmin(axis=1)] == kinds).all()
    assert picture_map.arranged(features[: picture_map.FEWEST]).shape == (picture_map.FEWEST, 2)


@pytest.fixture(autouse=True)
def few_permutations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slice_search, "PERMUTATIONS", 499)


def test_wrong_answers_to_the_darkest_pictures_are_found_in_those_of_cross_validation(
    pets: DatasetFolder, pets_run: RunFolder, carry_out: CarryOut
) -> None:
    images = pets.manifest().images
    dark = sorted(range(60), key=lambda row: images[row].measured["brightness"])[:15]
    wrong = [(image.label + (row in dark)) % 3 for row, image in enumerate(images)]
    nested = np.eye(3, dtype=np.float32)[wrong]
    dataclasses.replace(pets_run.out_of_fold(), nested=nested).write(pets_run.out_of_fold_file)

    found = carry_out(task_about(pets_run, SlicesSpec)).answer(RunSlices)
    assert (found.judged_by, found.images, found.accuracy) == ("cross_validated", 60, 0.75)
    first = found.findings[0]
    assert (first.kind, first.name, first.images, first.errors, first.elsewhere) == (
        "brightness",
        "dark pictures",
        15,
        15,
        1,
    )
    assert sorted(answer.row for answer in first.answers) == sorted(dark)
    assert {one.kind for one in found.slices} >= {"brightness", "cluster"}
    assert list(found.slices) == sorted(found.slices, key=lambda row: row.p_value)


def test_a_run_of_gradient_steps_is_judged_by_its_test_pictures(
    trained: Callable[..., RunFolder], carry_out: CarryOut
) -> None:
    run = trained(backbone=SMALL, strategy="partial_fine_tuning", epochs=1, device="cpu")
    found = carry_out(task_about(run, SlicesSpec)).answer(RunSlices)
    assert (found.judged_by, found.images) == ("test", 9)
    assert found.slices == (), "nine pictures are too few to divide"
    assert len(run.embeddings().rows) == 60


def test_a_fitted_head_keeps_the_embeddings_of_all_parts_and_its_bundle_gives_the_same(
    pets: DatasetFolder, pets_run: RunFolder
) -> None:
    kept, predictor = pets_run.embeddings(), Predictor(pets_run.bundle)
    assert kept.rows.tolist() == np.flatnonzero(assign(pets.manifest(), 3) != "").tolist()
    pixels, _ = finish(
        load_pixels(
            pets.path,
            pets.manifest(),
            size=SIZE,
            interpolation=predictor.info.interpolation,
            cache=Store.default().cache,
        )
    )
    assert np.allclose(kept.vectors, predictor.embeddings(np.asarray(pixels[kept.rows])), atol=2e-3)
    again, events = finish(run_embeddings(Plan(pets_run)))
    assert not events, "what is kept is not computed again"
    assert np.array_equal(again.vectors, kept.vectors)


@pytest.mark.parametrize("left", [None, b"noise"], ids=["none", "damaged"])
def test_a_run_without_embeddings_gets_those_of_its_bundle_once(pets_run: RunFolder, left: bytes | None) -> None:
    before = pets_run.embeddings()
    pets_run.embeddings_file.unlink()
    if left is not None:
        pets_run.embeddings_file.write_bytes(left)
    found, events = finish(run_embeddings(Plan(pets_run)))
    assert events
    assert found.rows.tolist() == before.rows.tolist()
    assert np.allclose(found.vectors, before.vectors, atol=2e-3)
    assert np.array_equal(pets_run.embeddings().vectors, found.vectors), "the next question finds them"


def test_a_run_that_is_deleted_meanwhile_leaves_no_folder(pets_run: RunFolder) -> None:
    pets_run.embeddings_file.unlink()
    asked = run_embeddings(Plan(pets_run))
    next(asked)
    remove(pets_run.path)
    with pytest.raises(NotFound, match="was deleted"):
        list(asked)
    assert not pets_run.path.exists()


def test_the_embeddings_count_in_what_a_run_is_expected_to_write(pets_run: RunFolder) -> None:
    spec, many = pets_run.spec(), 100_000
    embedding = 2 * Predictor(pets_run.bundle).info.embedding_size
    assert expected_bytes(spec, many) - expected_bytes(spec, 0) == embedding * many
    assert expected_bytes(spec, 60) > sum(file.stat().st_size for file in pets_run.bundle.iterdir())


EACH = 12
Ranked = Callable[..., tuple[Ranking, list[Event]]]


def _small(name: str) -> Network:
    """The row of that name with weights for small pictures, so that a comparison takes a moment."""
    row = network(name)
    return row.model_copy(update={"weights": (row.weights_row().model_copy(update={"input_size": SIZE}),)})


@pytest.fixture
def cache(backbones: None, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """The store's cache, with both backbones in it; the ranking takes pictures of the size for which they are exported."""
    for module in (rank, grouping):
        monkeypatch.setattr(module, "network", _small)
    return Store.default().cache


@pytest.fixture
def digits(workspace: Workspace, tmp_path: Path) -> DatasetFolder:
    known = load_digits()
    for digit in range(10):
        (tmp_path / "digits" / str(digit)).mkdir(parents=True)
        for index in np.flatnonzero(known.target == digit)[:EACH]:
            picture = Image.fromarray((known.images[index] * 15).astype(np.uint8)).resize((64, 64))
            picture.save(tmp_path / "digits" / str(digit) / f"{index}.png")
    return read(workspace, tmp_path / "digits", InProcess(JOBS))


@pytest.fixture
def ranked(workspace: Workspace, digits: DatasetFolder, carry_out: CarryOut) -> Ranked:
    """The ranking of the backbones that are named, and what was said meanwhile."""

    def ranked(*backbones: str) -> tuple[Ranking, list[Event]]:
        task = carry_out(RankSpec(workspace=workspace.token, dataset=digits.id, backbones=backbones, device="cpu"))
        return task.answer(Ranking), task.events()[0]

    return ranked


def test_backbones_come_by_their_scores_on_the_training_images_and_one_that_fails_is_noted(
    digits: DatasetFolder, cache: Cache, ranked: Ranked
) -> None:
    ranking, events = ranked(SMALL, "magic", "efficientnet_lite0")
    manifest = digits.manifest()
    train = assign(manifest, 0) == "train"
    labels = np.array([image.label for image in manifest.images])
    for row in ranking.rows:
        key = features_key(manifest, _small(row.backbone), row.weights, SIZE)
        # A run starts where the comparison ended.
        scores = transferability(np.load(cache.get("features", key))[train], labels[train])
        assert (row.accuracy, row.logme, row.similar) == (scores.accuracy, scores.logme, scores.similar)
        assert row.interval[0] < row.accuracy < row.interval[1]
        assert row.seconds > 0
    assert {row.backbone for row in ranking.rows} == {SMALL, "efficientnet_lite0"}
    assert ranking.rows[0].accuracy > ranking.rows[1].accuracy > 0.5
    assert "magic" in ranking.failed["magic"]
    assert (ranking.classes, ranking.images) == (10, train.sum())
    assert "efficientnet_lite0, backbone 3 of 3" in [event.title for event in events if event.type == "stage"]
    assert any(isinstance(event, Progress) and event.stage == "features" for event in events)
    assert any(isinstance(event, Notice) and "magic" in event.message for event in events)
    turned, _ = ranked("efficientnet_lite0", SMALL)
    assert [row.backbone for row in turned.rows] == [row.backbone for row in ranking.rows]


def test_of_very_many_pictures_a_part_of_every_class_is_looked_at(
    digits: DatasetFolder, cache: Cache, ranked: Ranked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank, "MOST_IMAGES", 60)
    ranking, events = ranked(SMALL)
    assert ranking.images == 60
    assert any(isinstance(event, Notice) and "of every class its share" in event.message for event in events)
    row = _small(SMALL)
    key = features_key(digits.manifest(), row, row.default_weights, SIZE)
    assert cache.get("features", key) is None, "not all pictures were run"


def test_where_no_backbone_can_be_scored_the_reason_is_said(
    workspace: Workspace, digits: DatasetFolder, cache: Cache
) -> None:
    spec = RankSpec(workspace=workspace.token, dataset=digits.id, backbones=("magic",), device="cpu")
    assert "No backbone could be scored. magic: " in ended(by(InProcess(JOBS), ask, workspace, spec))
