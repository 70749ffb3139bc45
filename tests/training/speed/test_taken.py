"""What stages took against what was expected scales the next estimate, and says how long a run will still take."""

import pytest

from tl_core.documents.events import Ended, EpochEnded, Event, Resumed, StageStarted
from tl_core.training.speed.taken import Former, Taken, factors, memory_factor, seconds_left

KIND = ("resnet18", "lora")


def paces(*former: Former, device: str = "cpu") -> dict[str, float]:
    return factors(former, KIND, device=device, processor=3.0, gpu=0.5)


def test_each_stage_has_the_pace_that_it_had() -> None:
    former = [Former(KIND, {"features": 100.0, "training": 50.0}, {"features": 800.0, "training": 50.0})]
    found = paces(*former)
    assert found["features"] == pytest.approx(8, rel=0.05)
    assert found["training"] == pytest.approx(1, rel=0.2)


def test_a_stage_of_a_moment_follows_the_whole_run() -> None:
    former = [Former(KIND, {"preparing": 60.0, "evaluation": 0.001}, {"preparing": 120.0, "evaluation": 0.5})]
    assert paces(*former)["evaluation"] == pytest.approx(2, rel=0.2), "not five hundred"


def test_nothing_is_scaled_beyond_what_machines_differ_by() -> None:
    assert set(paces(Former(KIND, {"training": 100.0}, {"training": 1e9})).values()) == {16.0}
    assert paces(Former(KIND, {"training": 1e6}, {"training": 0.0}))["training"] == 0.25


def test_runs_of_the_same_kind_tell_more_than_later_ones_of_another() -> None:
    same = Former(KIND, {"training": 1000.0}, {"training": 2000.0}, memory=1.5)
    others = [Former(("vit_b_16", "lora"), {"training": 1000.0}, {"training": 8000.0}, memory=0.5)] * 3
    assert paces(*others, same)["training"] == pytest.approx(2, rel=0.01)
    assert paces(*others)["training"] == pytest.approx(8, rel=0.01)
    assert memory_factor([*others, same], KIND) == 1.5
    assert memory_factor(others, KIND) == 1.0, "another kind says nothing about memory"


def test_before_a_first_run_a_gpu_and_the_processor_beside_it_have_their_own_pace() -> None:
    assert set(paces().values()) == {3.0}
    on_gpu = paces(device="cuda")
    assert (on_gpu["training"], on_gpu["evaluation"], on_gpu["backbone"], on_gpu["preparing"]) == (0.5, 0.5, 3.0, 3.0)


EXPECTED = {"preparing": 10.0, "features": 100.0, "evaluation": 20.0}
BETWEEN = (100.0, 160.0)
"""Its middle is the sum of what was expected."""


@pytest.mark.parametrize(
    ("stage", "taken", "of_itself", "left"),
    [
        ("features", {"preparing": 10.0, "features": 40.0}, None, 60 + 20),
        ("features", {"preparing": 10.0, "features": 99.0}, 500.0, 520),
        ("features", {"features": 100.0, "preparing": 10.0}, None, None),
        ("backbone", {}, None, None),
    ],
    ids=["as expected", "what the stage says counts", "overdue", "not expected"],
)
def test_at_the_pace_that_was_expected_it_is_the_rest_unless_the_stage_says_something_else(
    stage: str, taken: dict[str, float], of_itself: float | None, left: float | None
) -> None:
    assert seconds_left(EXPECTED, BETWEEN, taken, stage, of_itself) == pytest.approx(left)


def test_a_slow_machine_shows_in_what_comes() -> None:
    taken = {"preparing": 50.0, "features": 0.0}
    assert seconds_left(EXPECTED, BETWEEN, taken, "features") == pytest.approx(120 * 52 / 12)
    of_all = tuple(4 * end for end in BETWEEN)
    before = seconds_left(EXPECTED, (of_all[0], of_all[1]), {}, "preparing")
    assert before == pytest.approx(4 * 130), "before anything was timed it is what the estimate said"


def _taken(*events: Event) -> Taken:
    taken = Taken()
    for event in events:
        taken.take(event)
    return taken


def _epoch(time: float) -> EpochEnded:
    return EpochEnded(
        time=time,
        epoch=1,
        epochs=5,
        train_loss=1.0,
        train_accuracy=0.5,
        val_loss=1.0,
        val_accuracy=0.5,
        learning_rate=0.1,
        best=True,
    )


def test_seconds_are_those_of_the_stages_without_waiting() -> None:
    taken = _taken(
        StageStarted(time=100, stage="waiting", title=""),
        StageStarted(time=130, stage="preparing", title=""),
        StageStarted(time=140, stage="training", title=""),
        _epoch(200),
    )
    assert taken.until(210) == {"waiting": 30, "preparing": 10, "training": 70}
    assert taken.in_all() == {"waiting": 30, "preparing": 10, "training": 60, "total": 70}


def test_the_days_between_two_parts_of_a_run_do_not_count() -> None:
    first = [StageStarted(time=100, stage="preparing", title=""), StageStarted(time=110, stage="training", title="")]
    killed = _taken(*first, _epoch(150))
    again = [
        Resumed(time=99_999, epoch=1, seconds=killed.in_all()),
        StageStarted(time=100_000, stage="preparing", title=""),
        StageStarted(time=100_005, stage="training", title=""),
        Ended(time=100_105, state="succeeded", message="Done."),
    ]
    assert _taken(*first, _epoch(150), *again).in_all() == {"preparing": 15, "training": 140, "total": 155}
    # Finished with the best state so far, which no event says.
    assert _taken(*first, _epoch(150), *again[1:]).in_all()["total"] == 155
    anew = Resumed(time=99_999, epoch=None, seconds={})
    assert _taken(*first, _epoch(150), anew, *again[1:]).in_all()["total"] == 105
