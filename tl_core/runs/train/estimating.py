"""How long a run will take and how much memory it needs, from its spec and from what this machine measured before."""

from __future__ import annotations

from tl_core.data.cache import Cache
from tl_core.data.pixel_arrays import pixels_key
from tl_core.documents.manifest import Manifest
from tl_core.documents.questions import Measurement, MeasureSpec
from tl_core.documents.spec import TrainSpec
from tl_core.models.registry import network
from tl_core.runs.process.devices import computes, expected_device
from tl_core.training.frozen.features import features_key
from tl_core.training.speed import measure
from tl_core.training.speed.estimate import Estimate, Kept, estimate
from tl_core.training.strategies.strategies import strategy, tuned


def measure_question(spec: TrainSpec, classes: int) -> MeasureSpec:
    """What to ask of this machine to know how long the run of `spec` will take here."""
    device = expected_device(spec.device)
    return MeasureSpec(
        backbone=spec.backbone,
        weights=spec.weights,
        strategy=spec.strategy,
        stages=spec.stages,
        image_size=spec.image_size,
        classes=classes,
        device=device,
        batch_size=spec.batch_size,
        lora_rank=spec.recipe.lora_rank,
        **computes(device)._asdict(),
    )


def measured(spec: TrainSpec, classes: int, cache: Cache) -> Measurement | None:
    """What this machine measured before for the run of `spec`; None where it did not."""
    return measure.known(measure_question(spec, classes), cache)


def estimated(spec: TrainSpec, manifest: Manifest, cache: Cache) -> Estimate:
    """Seconds and memory for the run of `spec`, whose strategy is a row of the table, on the images of `manifest`."""
    asked = measure_question(spec, len(manifest.classes))
    return estimate(
        spec,
        asked,
        images=len(manifest.images),
        measured=measure.known(asked, cache),
        kept=_kept(spec, manifest, cache),
    )


def estimated_with(spec: TrainSpec, name: str, manifest: Manifest, cache: Cache) -> Estimate:
    """The same for the strategy called `name` with its own settings, in place of that of `spec`."""
    other = tuned(strategy(name), network(spec.backbone))
    own = {"strategy": name, "epochs": other.epochs or 1, "recipe": other.recipe, "solver": "logistic"}
    return estimated(spec.model_copy(update=own), manifest, cache)


def _kept(spec: TrainSpec, manifest: Manifest, cache: Cache) -> Kept:
    """Which of the run's inputs the cache holds already."""
    on = network(spec.backbone)
    weights = on.weights_row(spec.weights)
    pixels = pixels_key(manifest, size=spec.image_size, interpolation=weights.interpolation)
    features = features_key(manifest, on, weights.name, spec.image_size)
    return Kept(cache.get("pixels", pixels) is not None, cache.get("features", features) is not None)
