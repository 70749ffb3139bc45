"""Two batches of a real network at a small size: what is measured is positive, kept, and asked for once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.training.helpers import finish
from tl_core.data.cache import Cache
from tl_core.documents.tasks import Measurement, MeasureSpec
from tl_core.errors import SpecError
from tl_core.models.build import Backbone
from tl_core.models.registry import network
from tl_core.training.frozen import onnx_runtime
from tl_core.training.speed import measure, step_times

LITE = network("efficientnet_lite0")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    """One for all, so that the backbone is exported once; on one thread, for so little work gains nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_runtime, "cores", lambda: 1)
        yield Cache(tmp_path_factory.mktemp("measured"), 10**9)
    torch.set_num_threads(threads)


def asked(strategy: str, **changed: object) -> MeasureSpec:
    values: dict[str, object] = {
        "backbone": LITE.name,
        "weights": LITE.default_weights,
        "strategy": strategy,
        "image_size": 64,
        "classes": 3,
        "device": "cpu",
        "batch_size": 4,
        "micro_batch": 2,
        **changed,
    }
    return MeasureSpec.model_validate(values)


def answer(strategy: str, cache: Cache, **changed: object) -> Measurement:
    found, _ = finish(measure.measure(asked(strategy, **changed), cache))
    return found


def test_a_fitted_head_costs_its_features_alone(cache: Cache) -> None:
    found = answer("feature_extraction", cache)
    assert found.frozen_seconds > 0
    assert found.start_seconds > 0
    assert found.memory_mb > 50
    assert (found.step_seconds, found.score_seconds, found.prefix_seconds, found.export_seconds) == (0, 0, 0, 0)
    assert found.peak_parameters == LITE.head_parameters(3)


@pytest.mark.parametrize("strategy", ["partial_fine_tuning", "full_fine_tuning", "gradual_unfreezing", "surgical"])
def test_steps_are_timed_as_the_strategy_takes_them(strategy: str, cache: Cache) -> None:
    found = answer(strategy, cache)
    assert found.step_seconds > 0
    assert found.score_seconds > 0
    assert found.frozen_seconds > 0
    assert found.export_seconds > 0
    assert found.memory_mb > 50
    assert (found.prefix_seconds > 0) is (strategy != "full_fine_tuning"), "what is frozen is run once and kept"
    whole = LITE.backbone_parameters + LITE.head_parameters(3)
    if strategy in {"full_fine_tuning", "gradual_unfreezing"}:
        assert found.peak_parameters == whole
    else:
        assert LITE.head_parameters(3) < found.peak_parameters < whole


def test_what_was_measured_is_asked_for_once(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    first = answer("feature_extraction", cache)

    def fail(*_: object) -> float:
        raise AssertionError("measured again")

    monkeypatch.setattr(measure, "frozen_seconds", fail)
    monkeypatch.setattr(step_times, "frozen_seconds", fail)
    assert answer("feature_extraction", cache) == first
    assert measure.known(asked("feature_extraction", classes=30), cache) == first, "classes hardly matter"
    assert measure.known(asked("feature_extraction", image_size=96), cache) is None
    assert measure.known(asked("lp_ft"), cache) is None


@pytest.mark.parametrize("strategy", ["lp_ft", "from_scratch"])
def test_a_network_is_timed_at_the_one_size_of_its_weights(
    strategy: str, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_times, "channels_last_is_faster", lambda backbone, *_, **more: _refuse(backbone))
    with torch.device("meta"), pytest.raises(InterruptedError, match="577"):
        answer(strategy, cache, backbone="vit_b_16", weights="IMAGENET1K_SWAG_E2E_V1", image_size=384)


def _refuse(backbone: Backbone) -> bool:
    raise InterruptedError(str(tuple(backbone.module.get_parameter("encoder.pos_embedding").shape)))


def test_a_strategy_that_does_not_fit_is_refused_before_anything_is_built(cache: Cache) -> None:
    with pytest.raises(SpecError, match="transformer"):
        answer("lora", cache)
