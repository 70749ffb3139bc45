"""What corruptions cost a classifier, from its answers to the same pictures with and without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.tasks import Corrupted, Effect
from tl_core.evaluation.comparison import LEVEL, holm, p_value
from tl_core.evaluation.corruptions import CORRUPTIONS
from tl_core.evaluation.intervals import accuracy_interval


def effects(
    clean: NDArray[np.integer],
    corrupted: Mapping[str, Sequence[NDArray[np.integer]]],
    truth: NDArray[np.integer],
    groups: NDArray[np.integer],
    rows: NDArray[np.integer],
) -> tuple[Effect, ...]:
    """What each corruption costs, in the order of `corrupted`.

    `clean` (N,) are the classes that the pictures were taken for as they are, `corrupted` those at each strength by the name of the corruption,
    the weakest first. `truth` (N,) are the right ones. Pictures with the same entry of `groups` (N,) count as one unit. `rows` (N,) are
    their rows in the manifest.

    Raises:
        ValueError: shapes that do not fit.
    """
    right = clean == truth
    corrected = holm([p_value(_nets(said[-1] == truth, right, groups)) for said in corrupted.values()])
    found = []
    for (name, answers), p in zip(corrupted.items(), corrected, strict=True):
        rights = [said == truth for said in answers]
        example = next((int(np.argmax(lost)) for lost in (right & ~one for one in rights) if lost.any()), 0)
        found.append(
            Effect(
                corruption=name,
                strengths=tuple(
                    Corrupted(
                        strength=CORRUPTIONS[name].said(strength),
                        accuracy=float(one.mean()),
                        interval=accuracy_interval(one, groups),
                        drop=float(right.mean() - one.mean()),
                    )
                    for strength, one in enumerate(rights)
                ),
                p_value=p,
                example=int(rows[example]),
                said=(int(clean[example]), *(int(said[example]) for said in answers)),
            )
        )
    return tuple(found)


def hurt_most(
    found: Sequence[Effect],
    corrupted: Mapping[str, Sequence[NDArray[np.integer]]],
    truth: NDArray[np.integer],
    groups: NDArray[np.integer],
) -> tuple[str, ...]:
    """The corruptions that cost the most at their strongest, the worst first.

    These are the one with the largest drop of those that chance does not explain, and the others of those that the exact paired test,
    corrected for their number, cannot tell from it. Empty where chance explains all. `corrupted`, `truth` and `groups` as for `effects`.
    """
    costly = sorted((effect for effect in found if effect.costly), key=lambda effect: -effect.strengths[-1].drop)
    if not costly:
        return ()
    worst, *others = (effect.corruption for effect in costly)
    right = corrupted[worst][-1] == truth
    alike = holm([p_value(_nets(corrupted[other][-1] == truth, right, groups)) for other in others])
    return (worst, *(other for other, p in zip(others, alike, strict=True) if p >= LEVEL))


def _nets(right: NDArray[np.bool_], before: NDArray[np.bool_], groups: NDArray[np.integer]) -> NDArray[np.integer]:
    """How many pictures of each group are `right` (N,) more than `before` (N,)."""
    at = np.unique(groups, return_inverse=True)[1]
    return np.bincount(at, right.astype(float) - before).astype(np.int64)
