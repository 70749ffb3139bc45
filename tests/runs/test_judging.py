"""Labels are judged by heads that have not seen the picture, and what they find is kept with it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.data.work import finish
from tl_core.data.checks import findings
from tl_core.documents.events import Notice
from tl_core.documents.manifest import ImageEntry, Manifest
from tl_core.runs import judging
from tl_core.runs.judging import with_suspicions


def _labelled(labels: list[int]) -> tuple[Manifest, NDArray[np.float32]]:
    """Pictures of two classes by turns, whose features show it, with these labels."""
    images = tuple(
        ImageEntry(sha256=f"{row:064x}", label=label, name=f"{row}.jpg", file="", width=9, height=9)
        for row, label in enumerate(labels)
    )
    truth = np.arange(len(labels)) % 2
    noise = np.random.default_rng(0).normal(scale=0.3, size=(len(labels), 8))
    features = (noise + 2 * np.eye(8)[truth]).astype(np.float32)
    return Manifest(name="m", created=0, source="s", classes=("cat", "dog"), images=images), features


def test_a_picture_with_a_wrong_label_is_suspected_and_the_others_are_not() -> None:
    labels = [row % 2 for row in range(80)]
    labels[6] = 1
    manifest, features = _labelled(labels)
    _, found = finish(with_suspicions(manifest, features))
    assert [row for row, image in enumerate(found.images) if image.suspicion] == [6]
    suspicion = found.images[6].suspicion
    assert suspicion is not None
    assert (suspicion.label, suspicion.suggested) == ("dog", "cat")
    assert suspicion.label_probability < 0.03 < 0.9 < suspicion.suggested_probability
    (told,) = [finding for finding in findings(found) if finding.kind == "suspect_label"]
    assert (told.files, told.move_to) == (("6.jpg",), ("cat",))
    assert found.model_copy(update={"images": manifest.images}) == manifest


@pytest.mark.parametrize("labels", [[0] * 20, [0] * 18 + [1] * 2], ids=["one class", "too few"])
def test_what_no_run_can_start_on_is_not_judged(labels: list[int]) -> None:
    manifest, features = _labelled(labels)
    events, found = finish(with_suspicions(manifest, features))
    assert (events, found) == ([], manifest)


def test_so_many_pictures_and_classes_that_it_takes_long_are_not_judged_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(judging, "MOST", 2 * 39)
    manifest, features = _labelled([row % 2 for row in range(40)])
    (notice,), found = finish(with_suspicions(manifest, features))
    assert isinstance(notice, Notice)
    assert "on request" in notice.message
    assert found == manifest
