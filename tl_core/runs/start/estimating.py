"""How long a run is said to take, from its spec and what this machine measured before. Knows no torch and measures nothing."""

from __future__ import annotations

from tl_core.data.cache import Cache
from tl_core.data.pixels import pixels_key
from tl_core.documents.manifest import Manifest
from tl_core.documents.questions import MeasureSpec
from tl_core.documents.spec import TrainSpec
from tl_core.models.registry import Network, network
from tl_core.runs.process.devices import resolve_device
from tl_core.training.frozen.embeddings import features_key
from tl_core.training.speed.estimate import Estimate, Kept, estimate
from tl_core.training.speed.measure import known
from tl_core.training.strategies.strategies import strategy
from tl_core.training.strategies.tuning import tuned


def measure_question(spec: TrainSpec, classes: int) -> MeasureSpec:
    """What to ask of this machine to know how long the run of `spec` will take."""
    return MeasureSpec(
        backbone=spec.backbone,
        weights=spec.weights,
        strategy=spec.strategy,
        stages=spec.stages,
        image_size=spec.image_size,
        classes=classes,
        device=spec.device,
        precision=spec.precision,
        batch_size=spec.batch_size,
        micro_batch=spec.micro_batch,
        lora_rank=spec.recipe.lora_rank,
    )


def kept(manifest: Manifest, on: Network, weights: str | None, image_size: int | None, cache: Cache) -> Kept:
    """What the cache holds of the pictures of `manifest`, at `image_size` or the weights' own, as `on` needs them."""
    row = on.weights_row(weights)
    size = image_size or row.input_size
    pixels = pixels_key(manifest, size=size, interpolation=row.interpolation)
    features = features_key(manifest, on, row.name, size)
    return Kept(cache.get("pixels", pixels) is not None, cache.get("features", features) is not None)


def estimated(spec: TrainSpec, *, images: int, classes: int, cache: Cache, kept: Kept | None = None) -> Estimate:
    """Seconds and memory for the run of `spec`, whose strategy is a row of the table, on so many images in all."""
    return estimate(
        network(spec.backbone),
        strategy(spec.strategy),
        images=images,
        image_size=spec.image_size,
        device=resolve_device(spec.device),
        stages=spec.stages,
        epochs=spec.epochs,
        classes=classes,
        recipe=spec.recipe,
        solver=spec.solver,
        micro_batch=min(spec.micro_batch, spec.batch_size),
        precision=spec.precision,
        measured=known(measure_question(spec, classes), cache),
        kept=kept,
    )


def estimated_with(spec: TrainSpec, name: str, *, images: int, classes: int, cache: Cache) -> Estimate:
    """The same for the strategy called `name` with its own settings, in place of that of `spec`."""
    row = tuned(strategy(name), network(spec.backbone))
    other = spec.model_copy(update={"strategy": name, "epochs": row.epochs or 1, "recipe": row.recipe})
    return estimated(other, images=images, classes=classes, cache=cache)
