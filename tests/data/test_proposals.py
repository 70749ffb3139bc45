"""What a finding comes to as remedies."""

from __future__ import annotations

from tests.data.test_split import balanced, manifest
from tl_core.data.checks import Finding, findings
from tl_core.data.proposals import kept, proposed
from tl_core.documents.manifest import Manifest, Suspicion
from tl_core.documents.remedies import Remedies


def _finding(data: Manifest, kind: str) -> Finding:
    return next(finding for finding in findings(data) if finding.kind == kind)


def _with(data: Manifest, **changes: dict[int, object]) -> Manifest:
    """`data` with fields of single images changed."""
    images = [
        image.model_copy(update={field: of[row] for field, of in changes.items() if row in of})
        for row, image in enumerate(data.images)
    ]
    return Manifest(name="m", created=0, source="s", classes=data.classes, images=tuple(images), grouped=True)


def test_of_each_group_the_picture_with_the_most_pixels_stays() -> None:
    data = _with(manifest(balanced(2, 20)), group={3: 0, 4: 0, 5: 0, 30: 1, 31: 1}, width={4: 20, 5: 20})
    assert proposed(data, _finding(data, "near_copy")) == Remedies(leave_out=("3.jpg", "5.jpg", "31.jpg"))


def test_of_copies_in_several_parts_that_which_is_learned_from_stays() -> None:
    data = manifest([*balanced(2, 20, "train"), *balanced(2, 20, "test")])
    assert set(proposed(data, _finding(data, "copy_across_splits")).leave_out) == {
        f"{row}.jpg" for row in range(40, 80)
    }


def test_a_suspect_label_is_moved_to_the_class_that_was_answered() -> None:
    suspicion = Suspicion(label="class 0", suggested="class 1", label_probability=0.01, suggested_probability=0.9)
    data = _with(manifest(balanced(2, 20)), suspicion={7: suspicion})
    assert proposed(data, _finding(data, "suspect_label")) == Remedies(move={"7.jpg": "class 1"})


def test_what_has_to_be_looked_at_is_not_proposed_but_can_be_kept() -> None:
    data = manifest([*balanced(2, 20), (1, "0", None)])
    finding = _finding(data, "two_labels")
    assert not proposed(data, finding)
    assert kept(data, finding) == Remedies(keep=("0.jpg", "40.jpg"))
