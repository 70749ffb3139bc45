"""The jobs that answer small questions: each takes the question's folder and leaves its answer in it.

What a job computes with is imported when the job runs, because several need torch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import get_args

from tl_core.disk import remove
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.questions.about_backbones import DescribeSpec, FeatureMapsSpec, MeasureSpec, RankSpec
from tl_core.documents.questions.about_pictures import LabelReviewSpec, PictureMapSpec
from tl_core.documents.questions.before_training import LearningRateSpec, PreviewSpec
from tl_core.documents.questions.finished_runs import EvidenceSpec, RobustnessSpec, SlicesSpec
from tl_core.documents.questions.kinds import QuestionSpec
from tl_core.runs.store.folders import DatasetFolder, QuestionFolder, RunFolder
from tl_core.runs.store.store import Store, Workspace
from tl_core.table import covering


def describe_job(question: QuestionFolder) -> Generator[Event, None, None]:
    """The row of a network that only timm knows, in the store's folder `networks`, and its name among those of the workspace.

    Raises:
        UnknownName: timm does not know it either.
        ModelError: it cannot be a backbone.
    """
    from tl_core.models.metadata.describe import describe_network

    # It is looked at anew where another workspace has added it, which nobody learns from the time that it takes.
    row = yield from describe_network(question.spec_as(DescribeSpec).network)
    Workspace(question.workspace_folder).add_backbone(row.name)


def preview_job(question: QuestionFolder) -> Generator[Event, None, None]:
    """Pictures that show what each level of augmentation does."""
    from tl_core.training.regularisation.preview import preview

    spec = question.spec_as(PreviewSpec)
    dataset = _dataset(spec)
    yield from preview(dataset.path, dataset.manifest(), spec, question.path)


def feature_maps_job(question: QuestionFolder) -> Generator[Event, None, None]:
    """Filters and feature maps of one picture.

    Raises:
        DataError: the picture is missing or damaged.
    """
    from tl_core.data.pixel_arrays import read_copy
    from tl_core.models.graphs.export import exported_backbone
    from tl_core.models.registry import network
    from tl_core.training.feature_maps import feature_maps

    spec = question.spec_as(FeatureMapsSpec)
    backbone, cache, dataset = network(spec.backbone), Store.default().cache, _dataset(spec)
    image, interpolation = dataset.manifest().images[spec.row], backbone.weights_row(spec.weights).interpolation
    picture = read_copy(dataset.path, image, spec.image_size, interpolation)
    exported = yield from exported_backbone(backbone, spec.weights, spec.image_size, cache)
    answer = yield from feature_maps(exported, backbone.stages, picture, question.path, cache=cache)
    answer.write(question.result_file)


def learning_rate_job(question: QuestionFolder) -> Generator[Event, None, None]:
    """The range test of a run, which exists as a folder for as long as the test takes."""
    yield StageStarted(stage="preparing", title="Preparing the pictures")
    from tl_core.runs.questions.learning_rate import rate_curve
    from tl_core.runs.train.plan import Plan
    from tl_core.runs.train.resolve import prepare

    run = RunFolder(question.path / "run")
    run.write_spec(question.spec_as(LearningRateSpec).train)
    plan = Plan(run)
    pixels = yield from prepare(plan)
    answer = yield from rate_curve(plan, pixels)
    answer.write(question.result_file)
    remove(run.path)


def measure_job(question: QuestionFolder) -> Generator[Event, None, None]:
    """Two batches of a network and strategy timed on this machine, while no other job has the device; on a GPU, as its card computes.

    Raises:
        DeviceError: the device is not here.
    """
    yield StageStarted(stage="preparing", title="Timing two batches")
    from tl_core.runs.process.devices import computes, resolve_device
    from tl_core.training.speed.measure import measure

    spec = question.spec_as(MeasureSpec)
    precision = computes(resolve_device(spec.device), spec.batch_size).precision
    answer = yield from measure(spec.model_copy(update={"precision": precision}), Store.default().cache)
    answer.write(question.result_file)


def rank_job(question: QuestionFolder) -> Generator[Event, None, None]:
    """Backbones compared on the frozen features of a data set."""
    yield StageStarted(stage="preparing", title="Comparing backbones")
    from tl_core.runs.questions.ranking import rank

    spec = question.spec_as(RankSpec)
    answer = yield from rank(spec, _dataset(spec), Store.default().cache)
    answer.write(question.result_file)


def review_job(question: QuestionFolder) -> Generator[Event, None, None]:
    """Labels that are probably wrong, and what more pictures would bring."""
    yield StageStarted(stage="preparing", title="Looking for wrong labels")
    from tl_core.runs.questions.label_review import review

    spec = question.spec_as(LabelReviewSpec)
    answer = yield from review(spec, _dataset(spec), Store.default().cache)
    answer.write(question.result_file)


def map_job(question: QuestionFolder) -> Generator[Event, None, None]:
    """The pictures of a data set on a plane."""
    yield StageStarted(stage="preparing", title="Drawing a map of the pictures")
    from tl_core.runs.questions.mapping import picture_map

    spec = question.spec_as(PictureMapSpec)
    answer = yield from picture_map(spec, _dataset(spec), Store.default().cache)
    answer.write(question.result_file)


def slices_job(question: QuestionFolder) -> Generator[Event, None, None]:
    """On which of its pictures a run fails."""
    yield StageStarted(stage="preparing", title="Looking where it fails")
    from tl_core.runs.questions.about_run import subject
    from tl_core.runs.questions.slicing import run_slices

    answer = yield from run_slices(subject(question.spec_as(SlicesSpec)).run)
    answer.write(question.result_file)


def robustness_job(question: QuestionFolder) -> Generator[Event, None, None]:
    """The answers of a run's bundle to its test pictures once they are changed.

    Raises:
        NotFound: the run or its data set was deleted.
    """
    yield StageStarted(stage="preparing", title="Preparing the test pictures")
    from tl_core.runs.questions.robustness import robustness_of_run

    answer = yield from robustness_of_run(question.spec_as(RobustnessSpec), Store.default().cache)
    answer.write(question.result_file)


def evidence_job(question: QuestionFolder) -> Generator[Event, None, None]:
    """Where in one picture the evidence for some classes lies."""
    yield StageStarted(stage="features", title="Looking for the evidence in the picture")
    from tl_core.runs.questions.evidence import picture_evidence

    picture_evidence(question.spec_as(EvidenceSpec)).write(question.result_file)


QUESTION_JOBS: Mapping[str, Callable[[QuestionFolder], Generator[Event, None, None]]] = covering(
    "kinds of question",
    (kind.model_fields["job"].default for kind in get_args(QuestionSpec)),
    {
        "describe": describe_job,
        "preview": preview_job,
        "look": feature_maps_job,
        "rate": learning_rate_job,
        "measure": measure_job,
        "rank": rank_job,
        "review": review_job,
        "map": map_job,
        "slices": slices_job,
        "robustness": robustness_job,
        "evidence": evidence_job,
    },
)
"""The job of each kind of question, by `job` of its spec."""


def _dataset(spec: PreviewSpec | FeatureMapsSpec | RankSpec | LabelReviewSpec | PictureMapSpec) -> DatasetFolder:
    return Store.default().workspace(spec.workspace).dataset(spec.dataset, spec.version)
