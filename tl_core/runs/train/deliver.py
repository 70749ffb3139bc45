"""Writes what a run delivers: the calibrated bundle, and the report on the bundle's own answers to the test split."""

from __future__ import annotations

import time
from collections.abc import Generator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl_core.disk import write_atomically
from tl_core.documents.bundle_info import NO_WEIGHTS, BundleInfo
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.manifest import SPLITS
from tl_core.documents.report import Report
from tl_core.errors import ModelError
from tl_core.runs.train.learn import Learned
from tl_core.runs.train.plan import Plan
from tl_core.version import __version__

if TYPE_CHECKING:
    from tl_core.serving.predictor import Predictor

AGREEMENT = 1e-3
"""The largest allowed difference between a probability computed from cached features and the bundle's own."""
_COMPARED = 8
"""Pictures on which the two are compared."""


def deliver(plan: Plan, pixels: NDArray[np.uint8], learned: Learned, workshop: Path) -> Generator[Event, None, None]:
    """Calibrate the head, write the bundle, measure it on the held-out split, and write the report.

    Raises:
        ModelError: the bundle answers differently from the features that it was made from.
        DiskFull: no space is left.
    """
    from tl_core.evaluation.metrics import answers, probabilities, split_metrics
    from tl_core.models.graphs.edit import attach_head
    from tl_core.serving.bundle import write_bundle
    from tl_core.serving.bundle_files import MODEL_CARD
    from tl_core.serving.card import model_card
    from tl_core.serving.predictor import Predictor
    from tl_core.training.frozen.onnx_runtime import embed_rows
    from tl_core.training.head.fitted import temperature

    yield StageStarted(stage="export", title="Writing the classifier")
    val, test = plan.rows("val"), plan.rows("test")
    embeddings = embed_rows(learned.graph, pixels, val) if learned.features is None else learned.features[val]
    val_logits = embeddings @ learned.weight.T + learned.bias
    calibration = temperature(val_logits, plan.labels[val])
    graph = workshop / "classifier.onnx"
    attach_head(learned.graph, learned.weight / np.float32(calibration), learned.bias / np.float32(calibration), graph)
    info = _info(plan, calibration)
    bundle = write_bundle(plan.run.bundle, info=info, onnx=graph, tensors=learned.tensors)

    yield StageStarted(stage="evaluation", title="Measuring it on pictures that it has never seen")
    predictor = Predictor(bundle)
    if learned.features is None:
        test_logits = yield from predictor.ask(pixels, test)
    else:
        test_logits = (learned.features[test] @ learned.weight.T + learned.bias) / np.float32(calibration)
        _require_agreement(predictor, pixels, test, test_logits)
    test_probabilities = probabilities(test_logits)
    report = Report(
        classes=plan.classes,
        images={split: len(plan.rows(split)) for split in SPLITS},
        refused_files=len(plan.manifest.refused),
        own_split=plan.manifest.own_splits,
        test=split_metrics(test_probabilities, plan.labels[test], plan.classes),
        val=split_metrics(probabilities(val_logits / calibration), plan.labels[val], plan.classes),
        answers=answers(test_probabilities, plan.labels[test], test),
        trainable_parameters=learned.trainable,
        total_parameters=learned.total,
        moved=learned.moved,
    )
    write_atomically(bundle.folder / MODEL_CARD, model_card(info, report).encode())
    report.write(plan.run.path / "report.json")


def _info(plan: Plan, calibration: float) -> BundleInfo:
    from tl_core.data.split import split_hashes

    with_torch = plan.strategy.takes_steps or plan.spec.solver == "adam"
    made_with = ["onnx", "onnxruntime", "scipy", *(["torch"] if with_torch else [])]
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
        split_hashes=split_hashes(plan.manifest, plan.splits),
        created=time.time(),
        versions={"graft": __version__, **{name: version(name) for name in made_with}},
    )


def _require_agreement(
    predictor: Predictor, pixels: NDArray[np.uint8], rows: NDArray[np.intp], logits: NDArray[np.float32]
) -> None:
    """Check that the bundle gives `logits` (M, C), computed from cached features, for some of the pictures `rows` (M,).

    Raises:
        ModelError: the probabilities differ by more than `AGREEMENT`.
    """
    from tl_core.evaluation.metrics import probabilities

    compared = np.linspace(0, len(rows) - 1, min(_COMPARED, len(rows))).astype(int)
    own = probabilities(predictor.logits(pixels[rows[compared]]))
    difference = float(np.abs(own - probabilities(logits[compared])).max(initial=0.0))
    if not difference <= AGREEMENT:
        raise ModelError(
            f"The exported classifier answers differently from the one that was measured (by {difference:.1e}). "
            "Please report this, with the run's log."
        )
