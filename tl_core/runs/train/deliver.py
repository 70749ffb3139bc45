"""Writes what a run delivers: the calibrated bundle, and the report on the bundle's own answers to the test split."""

import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tl_core.data.checks import findings
from tl_core.data.pace import Pace
from tl_core.data.split import leaked
from tl_core.disk import write_atomically
from tl_core.documents.arrays import Embeddings, OutOfFoldAnswers
from tl_core.documents.bundle_info import NO_WEIGHTS, BundleInfo
from tl_core.documents.events import Event, Notice, Stage, StageStarted
from tl_core.documents.manifest import SPLITS, SplitRecord
from tl_core.documents.report import ENOUGH_TEST_IMAGES, Calibration, Report, SplitMetrics
from tl_core.errors import DeviceError, ModelError, memory_ran_out
from tl_core.evaluation.calibration import reliability, significant_temperature, temperature, top_label
from tl_core.evaluation.metrics import answers, leak, probabilities, split_metrics
from tl_core.models.graphs.edit import attach_head
from tl_core.runs.train.find_head import Learned
from tl_core.runs.train.plan import Plan
from tl_core.serving.bundle import write_bundle
from tl_core.serving.bundle_files import MODEL_CARD
from tl_core.serving.card import model_card
from tl_core.serving.predictor import Predictor
from tl_core.statements import Source
from tl_core.training.frozen.onnx_runtime import EMBEDDING, Wanted, embed_rows
from tl_core.version import __version__

AGREEMENT = 1e-3
"""The largest allowed difference between a probability computed without the bundle's graph and the bundle's own."""
_COMPARED = 8
"""Pictures on which the two are compared; where a GPU answers, as many again, those nearest to a tie."""


def deliver(plan: Plan, pixels: NDArray[np.uint8], learned: Learned, workshop: Path) -> Generator[Event, None, None]:
    """Calibrate the head, write the bundle, measure it on the held-out split, and write the report.

    Where `learned` has a backbone, that one answers the held-out pictures on the plan's device. If the bundle does not agree with it,
    or the device has too little memory, a notice says so, and the bundle's graph answers them: the report is always about the bundle.

    Raises:
        ModelError: the bundle answers differently from the features that it was made from.
        DiskFull: no space is left.
    """
    if learned.backbone is not None:
        try:
            yield from _delivered(plan, pixels, learned, workshop)
            return
        except _NotByDevice as reason:
            yield Notice(message=f"{reason} So the exported classifier answers all of them, on the processor.")
    yield from _delivered(plan, pixels, replace(learned, backbone=None), workshop)


class _NotByDevice(Exception):
    """Why the device's answers to the held-out pictures cannot stand for the bundle's, in a sentence."""


def _delivered(plan: Plan, pixels: NDArray[np.uint8], learned: Learned, workshop: Path) -> Generator[Event, None, None]:
    """As `deliver`. Raises _NotByDevice where `learned` has a backbone whose answers cannot be had, or are not the bundle's."""
    yield StageStarted(stage="export", title="Writing the classifier")
    val = plan.rows("val")
    embeddings = yield from _embeddings(plan, pixels, learned, val, workshop, "export")
    val_logits = embeddings @ learned.weight.T + learned.bias
    chosen = learned.out_of_fold
    if chosen is None:
        calibration = np.float32(temperature(val_logits, plan.labels[val]))
    else:
        calibration = np.float32(significant_temperature(chosen.logits, plan.labels[chosen.rows]))
    graph = workshop / "classifier.onnx"
    attach_head(learned.graph, learned.weight / calibration, learned.bias / calibration, graph)
    info = _info(plan, float(calibration))
    split = SplitRecord.read(plan.run.split_file)
    bundle = write_bundle(plan.run.bundle, info=info, split=split, onnx=graph, tensors=learned.tensors)

    yield StageStarted(stage="evaluation", title="Measuring it on pictures that it has never seen")
    predictor, test = Predictor(bundle), plan.rows("test")
    val_logits = val_logits / calibration
    if learned.features is None and learned.backbone is None:
        test_logits = yield from predictor.ask(pixels, test)
    else:
        embeddings = yield from _embeddings(plan, pixels, learned, test, workshop, "evaluation")
        test_logits = (embeddings @ learned.weight.T + learned.bias) / calibration
        logits, rows = np.concatenate([val_logits, test_logits]), np.concatenate([val, test])
        _agree(predictor, pixels, rows, logits, learned)
        val_logits, test_logits = logits[: len(val)], logits[len(val) :]
    judged = probabilities(val_logits if chosen is None else chosen.logits / calibration)
    if chosen is not None:
        OutOfFoldAnswers(
            rows=chosen.rows.astype(np.int64),
            probabilities=judged.astype(np.float32),
            nested=None if chosen.nested is None else probabilities(chosen.nested).astype(np.float32),
            c=chosen.c,
        ).write(plan.run.out_of_fold_file)
    report = _report(plan, learned, judged, probabilities(test_logits), probabilities(test_logits * calibration))
    if learned.features is not None:
        asked = plan.rows(*SPLITS)
        Embeddings.of(asked, learned.features[asked]).write(plan.run.embeddings_file)
    source = Source(report=report, spec=plan.spec, manifest=plan.manifest, findings=tuple(findings(plan.manifest)))
    write_atomically(bundle.folder / MODEL_CARD, model_card(source, info).encode())
    report.write(plan.run.report_file)


def _agree(
    predictor: Predictor,
    pixels: NDArray[np.uint8],
    rows: NDArray[np.intp],
    logits: NDArray[np.float32],
    learned: Learned,
) -> None:
    """Compare some of `logits` (M, C) of the images `rows`, which were computed without the bundle's graph, with its own.

    Raises:
        _NotByDevice: a GPU answers differently.
        ModelError: the features do, which were computed by the same graph without its head.
    """
    compared = _compared(logits, ties=0 if learned.backbone is None else _COMPARED)
    of_bundle = predictor.logits(pixels[rows[compared]])
    difference = float(np.abs(probabilities(of_bundle) - probabilities(logits[compared])).max(initial=0.0))
    agree = difference <= AGREEMENT
    if not agree and learned.backbone is None:
        raise ModelError(
            f"The exported classifier answers differently from the one that was measured (by {difference:.1e}). "
            "Please report this, with the run's log."
        )
    if not agree:
        raise _NotByDevice(
            f"For some validation or test pictures the GPU and the exported network differ by {difference:.1e} in a probability."
        )
    if learned.backbone is not None:
        # Near a tie, the smallest difference could give another class than the bundle's.
        logits[compared] = of_bundle


def _report(
    plan: Plan,
    learned: Learned,
    judged: NDArray[np.float64],
    answered: NDArray[np.float64],
    uncalibrated: NDArray[np.float64],
) -> Report:
    """The report. `judged` (M, C) are the probabilities of the pictures that chose, out of fold where cross-validation did; `answered`
    (T, C) those of the test pictures, and `uncalibrated` (T, C) the same without the temperature."""
    test = plan.rows("test")
    truth = plan.labels[test]

    def metrics(answers_given: NDArray[np.floating], rows: NDArray[np.intp], folds: int | None = None) -> SplitMetrics:
        return split_metrics(answers_given, plan.labels[rows], plan.classes, plan.groups[rows], folds)

    chosen, cross_validated, val_alone = learned.out_of_fold, None, None
    if chosen is None:
        of_chosen = metrics(judged, plan.rows("val"))
    else:
        of_chosen = metrics(judged, chosen.rows, chosen.folds)
        in_val = np.isin(chosen.rows, plan.rows("val"))
        val_alone = float((judged[in_val].argmax(axis=1) == plan.labels[chosen.rows[in_val]]).mean())
        if chosen.nested is not None:
            # The test is one more fold.
            cross_validated = metrics(probabilities(chosen.nested), plan.rows(*SPLITS), chosen.folds + 1)
    few = cross_validated is not None and len(test) < ENOUGH_TEST_IMAGES
    without_leaked = None
    # Without the pictures of one moment, what is left would judge the other classes alone.
    if not plan.one_moment:
        same_thing = np.isin(test, leaked(plan.splits, plan.groups))
        without_leaked = leak(answered.argmax(axis=1) == truth, same_thing, plan.groups[test])
    return Report(
        classes=plan.classes,
        images={split: len(plan.rows(split)) for split in SPLITS},
        refused_files=len(plan.manifest.refused),
        own_split=plan.manifest.own_splits,
        test=metrics(answered, test),
        val=of_chosen,
        val_alone=val_alone,
        cross_validated=cross_validated,
        headline=None if plan.one_moment else "cross_validated" if few else "test",
        one_moment=plan.one_moment,
        leak=without_leaked,
        answers=answers(answered, truth, test),
        calibration=Calibration(
            before=reliability(*top_label(uncalibrated, truth)), after=reliability(*top_label(answered, truth))
        ),
        trainable_parameters=learned.trainable,
        total_parameters=learned.total,
        moved=learned.moved,
    )


@dataclass(frozen=True)
class _Chosen:
    """The images `rows` of `pixels`, read when they are needed."""

    pixels: NDArray[np.uint8]
    rows: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice, /) -> NDArray[np.uint8]:
        return self.pixels[self.rows[part]]


def _embeddings(
    plan: Plan, pixels: NDArray[np.uint8], learned: Learned, rows: NDArray[np.intp], workshop: Path, stage: Stage
) -> Generator[Event, None, NDArray[np.float32]]:
    """Embeddings (M, D) of the images `rows` (M,): known, else by the trained network on the plan's device, else by its graph.

    Raises _NotByDevice where the network, or one image in it, does not fit the device's memory.
    """
    if learned.features is not None:
        of_rows: NDArray[np.float32] = learned.features[rows]
        return of_rows

    if learned.backbone is None:
        return embed_rows(learned.graph, pixels, rows)
    from tl_core.training.frozen.eager import run_eager

    wanted, pace = Wanted(EMBEDDING, workshop / f"{stage}.npy", np.float32), Pace(stage, len(rows))
    try:
        yield from run_eager(learned.backbone, 0, plan.spec.device, [wanted], _Chosen(pixels, rows), pace=pace)
    except (DeviceError, RuntimeError) as error:
        if not isinstance(error, DeviceError) and not memory_ran_out(error):
            raise
        raise _NotByDevice("The GPU has not enough memory left to answer the validation and test pictures.") from error
    computed: NDArray[np.float32] = np.load(wanted.into, allow_pickle=False)
    return computed


def _compared(logits: NDArray[np.float32], *, ties: int) -> NDArray[np.intp]:
    """Some rows of `logits` (M, C): the `ties` whose two likeliest classes are nearest to each other, and `_COMPARED` spread over the others."""
    ordered = np.sort(logits, axis=1)
    by_margin = np.argsort(ordered[:, -1] - ordered[:, -2], kind="stable")
    others = np.sort(by_margin[ties:])
    spread = np.linspace(0, len(others) - 1, min(_COMPARED, len(others))).astype(int)
    return np.concatenate([by_margin[:ties], others[spread]])


def _info(plan: Plan, calibration: float) -> BundleInfo:
    with_torch = plan.strategy.takes_steps or plan.spec.solver == "adam"
    made_with = ["numpy", "onnx", "onnxruntime", *(["torch"] if with_torch else [])]
    return BundleInfo(
        name=plan.run.name,
        classes=plan.classes,
        image_size=plan.spec.image_size,
        interpolation=plan.weights.interpolation,
        backbone=plan.network.name,
        weights=plan.weights.name if plan.strategy.pretrained else NO_WEIGHTS,
        licence=plan.weights.licence if plan.strategy.pretrained else "none",
        strategy=plan.strategy.name,
        seed=plan.spec.seed,
        temperature=calibration,
        embedding_size=plan.network.embedding_size,
        linear_on_pooled=plan.network.layout.linear_on_pooled,
        created=time.time(),
        versions={"graft": __version__, **{name: version(name) for name in made_with}},
    )
