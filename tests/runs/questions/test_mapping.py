"""A map of a data set is drawn from its frozen features, of all pictures or of a sample."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import lend
from tests.training.helpers import finish
from tl_core.documents.questions.about_pictures import PictureMapSpec
from tl_core.errors import NotEnoughImages
from tl_core.runs.questions import mapping
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import Store, Workspace


def test_every_picture_has_a_place_and_more_than_fit_are_sampled(
    workspace: Workspace,
    pets: DatasetFolder,
    store: Path,
    exported: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lend(exported(224), store / "cache")
    spec = PictureMapSpec(workspace=workspace.token, dataset=pets.id)
    labels = [image.label for image in pets.manifest().images]
    found, _ = finish(mapping.picture_map(spec, pets, Store.default().cache))
    assert found.rows == tuple(range(60))
    assert len(found.x) == len(found.y) == 60
    monkeypatch.setattr(mapping, "MOST", 25)
    some, _ = finish(mapping.picture_map(spec, pets, Store.default().cache))
    assert len(set(some.rows)) == 25
    assert list(some.rows) == sorted(some.rows)
    for row, other, near in zip(some.rows, some.other, some.lookalikes, strict=True):
        assert {labels[place] for place in near.of_label} == {labels[row]}
        assert {labels[place] for place in near.of_suggested} == {other} != {labels[row]}
        assert set(near.of_label) | set(near.of_suggested) <= set(some.rows)
    monkeypatch.setattr(mapping, "FEWEST", 61)
    with pytest.raises(NotEnoughImages, match="61 pictures at least, and there are 60"):
        finish(mapping.picture_map(spec, pets, Store.default().cache))
