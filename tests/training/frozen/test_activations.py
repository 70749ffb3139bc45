"""What the frozen stages give is theirs, is computed once, and is not kept where there is no room."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.twin import by_torch, embedded, finish, pictures, spec, twin
from tl_core.data.cache import Cache
from tl_core.documents.events import Notice, Progress
from tl_core.errors import OverBudget
from tl_core.models.build import Backbone
from tl_core.models.graphs.export import ONNX_NAME
from tl_core.training.frozen import activations
from tl_core.training.frozen.activations import frozen_activations
from tl_core.training.frozen.features import kept_features
from tl_core.training.frozen.onnx_runtime import Wanted, run_graph
from tl_core.training.loop.augment import view

PIXELS, _ = pictures(5)
TRAIN = np.array([0, 3, 7, 8, 12])
KEY = "pixels-and-backbone"


def _frozen(  # type: ignore[no-untyped-def]
    exported: Path,
    cache: Cache,
    *,
    backbone: Backbone | None = None,
    epochs: int = 3,
    seed: int = 0,
    decided: int | None = None,
    **recipe: object,
):
    return finish(
        frozen_activations(
            backbone or twin(),
            exported,
            PIXELS,
            spec=spec(recipe=recipe, seed=seed, views_kept={} if decided is None else {1: decided}),
            frozen=1,
            train_rows=TRAIN,
            passes=epochs,
            cache=cache,
            key=KEY,
        )
    )


def _said(events: list[object]) -> str:
    return " ".join(event.message for event in events if isinstance(event, Notice))


def _never(*args: object, **more: object) -> None:
    raise AssertionError("computed twice")


def test_activations_of_the_cut_graph_are_what_the_frozen_stages_give(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache", 10**8)
    found, events = _frozen(exported, cache)
    assert found.plain.dtype == np.float16
    assert found.copies is None
    assert np.allclose(found.plain, by_torch(PIXELS), atol=5e-3)
    assert any(isinstance(event, Progress) and event.done == event.total == len(PIXELS) for event in events)

    monkeypatch.setattr(activations, "run_graph", _never)
    again, events = _frozen(exported, cache)
    assert np.array_equal(again.plain, found.plain)
    assert events == [], "nothing is computed"


def test_one_pass_gives_the_features_too(exported: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 10**8)
    _frozen(exported, cache)
    found, events = finish(kept_features(_never, PIXELS, cache=cache, key=KEY))
    assert events == []
    assert np.allclose(found, embedded(twin(), PIXELS), atol=1e-4)


def test_a_cache_without_room_for_the_features_keeps_the_activations(exported: Path, tmp_path: Path) -> None:
    class Narrow(Cache):
        def entry(self, kind, *given, **more):  # type: ignore[no-untyped-def]
            if kind == "features":
                raise OverBudget("no room")
            return super().entry(kind, *given, **more)

    found, _ = _frozen(exported, Narrow(tmp_path / "cache", 10**8))
    assert np.allclose(found.plain, by_torch(PIXELS), atol=5e-3)


def test_features_that_are_there_are_not_computed_again(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache", 10**8)
    finish(kept_features(partial(run_graph, exported / ONNX_NAME), PIXELS, cache=cache, key=KEY))
    asked: list[list[str]] = []
    real = activations.run_graph

    def noting(graph: Path, wanted: list[Wanted], *given: object, **more: object):  # type: ignore[no-untyped-def]
        asked.append([one.output for one in wanted])
        return real(graph, wanted, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(activations, "run_graph", noting)
    _frozen(exported, cache)
    assert asked == [["stage_0"]]


def test_views_are_changed_copies_of_the_training_rows_and_always_the_same(exported: Path, tmp_path: Path) -> None:
    found, events = _frozen(exported, Cache(tmp_path / "cache", 10**8), augmentation="medium", views=3)
    assert np.array_equal(found.copies.rows, TRAIN)
    assert len(found.copies.views) == 2
    assert "3 views" in _said(events)
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert last.done == last.total == len(PIXELS) + 2 * len(TRAIN)
    for number, kept in enumerate(found.copies.views, start=1):
        changed = view(torch.from_numpy(PIXELS[TRAIN]), "medium", number=number, seed=0, rows=TRAIN.tolist())
        wanted = by_torch(changed.round().to(torch.uint8).numpy())
        assert np.allclose(kept, wanted, atol=5e-3)
        assert np.abs(kept - found.plain[TRAIN]).mean() > 0.01
    again, _ = _frozen(exported, Cache(tmp_path / "other", 10**8), augmentation="medium", views=3)
    assert all(np.array_equal(a, b) for a, b in zip(again.copies.views, found.copies.views, strict=True))


def test_views_are_kept_by_level_number_and_seed(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache", 10**8)

    def entries() -> int:
        return len(list((cache.root / "activations").iterdir()))

    _frozen(exported, cache, augmentation="light", views=2)
    assert entries() == 2
    _frozen(exported, cache, augmentation="light", views=3)
    assert entries() == 3, "the second view was there already"
    _frozen(exported, cache, augmentation="strong", views=2)
    _frozen(exported, cache, augmentation="light", views=2, seed=1)
    assert entries() == 5
    _frozen(exported, cache, augmentation="light", views=9, epochs=3, seed=1)
    assert entries() == 6, "more views than epochs would never be looked at"


def test_no_room_is_said_and_nothing_is_written(exported: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 50_000)
    found, events = _frozen(exported, cache)
    assert found is None
    assert [type(event) for event in events] == [Notice]
    assert not list((cache.root / "activations").glob("*"))


def test_fewer_views_where_there_is_less_room(exported: Path, tmp_path: Path) -> None:
    plain = 8 * 16 * 16 * 2 * len(PIXELS)
    a_view = plain * len(TRAIN) // len(PIXELS)
    cache = Cache(tmp_path / "cache", int((plain + 2.5 * a_view) / activations.LARGEST_SHARE))
    found, events = _frozen(exported, cache, augmentation="light", views=5, epochs=9)
    assert len(found.copies.views) == 2
    assert "3 views of each picture instead of 5" in _said(events)
    tight = Cache(tmp_path / "tight", int((plain + 0.5 * a_view) / activations.LARGEST_SHARE))
    found, events = _frozen(exported, tight, augmentation="light", views=5, epochs=9)
    assert found is None, "augmentation is never dropped in silence"
    assert "computed again in each epoch" in events[0].message


def test_a_single_view_is_drawn_anew_in_each_epoch(exported: Path, tmp_path: Path) -> None:
    found, events = _frozen(exported, Cache(tmp_path / "cache", 10**8), augmentation="light", views=1)
    assert found is None
    assert "single view" in events[0].message


def test_what_the_memory_has_no_room_for_is_computed_again_and_what_the_spec_says_is_done(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache", 10**8)
    whole = 8 * 16 * 16 * 2 * len(PIXELS) / activations.MEMORY_SHARE / 1e6
    monkeypatch.setattr(activations, "available_mb", lambda device: 0.9 * whole)
    found, events = _frozen(exported, cache)
    assert found is None
    assert "more than the memory has room for" in _said(events)
    assert not [path for path in (cache.root / "activations").glob("*") if path.is_file()]
    found, events = _frozen(exported, cache, augmentation="light", decided=2)
    assert found.views == 2
    assert not _said(events)
    monkeypatch.setattr(activations, "available_mb", lambda device: 1.1 * whole)
    assert _frozen(exported, cache)[0] is not None
    assert _frozen(exported, cache, augmentation="light", decided=0)[0] is None
