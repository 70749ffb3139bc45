"""The line of a job at work."""

import time

from tl_core.documents.events import EpochEnded, Notice, Progress, Resumed, StageStarted
from tl_core.documents.spec import Expected, TrainSpec
from ui.live import Followed


def test_a_run_says_what_is_left_of_all_of_it() -> None:
    began = time.time() - 8
    followed = Followed()
    followed.take(
        [
            StageStarted(stage="preparing", title="Preparing the pictures", time=began - 10),
            StageStarted(stage="features", title="Looking at every picture once", time=began),
            Progress(stage="features", done=1, total=4, seconds_left=30.0, images_per_second=2.0),
        ]
    )
    assert followed.sentence == "Looking at every picture once, 1 of 4, 2 pictures/s, 30\u202fs left"
    expected = Expected(machine="cpu", seconds={"preparing": 10, "features": 5, "training": 1000}, memory_mb=500)
    followed.spec = TrainSpec(
        name="a",
        workspace="w" * 32,
        dataset="d" * 16,
        weights="ImageNet",
        strategy="feature_extraction",
        image_size=224,
        device="cpu",
        expected=expected,
        estimated_seconds=(1015, 1015),
    )
    assert followed.sentence == "Looking at every picture once, 1 of 4, 2 pictures/s, 17\u202fmin left"


def _epoch(number: int, accuracy: float) -> EpochEnded:
    return EpochEnded(
        epoch=number,
        epochs=5,
        train_loss=1.0,
        train_accuracy=0.5,
        val_loss=1.0,
        val_accuracy=accuracy,
        learning_rate=0.1,
        best=True,
    )


def test_epochs_that_are_said_again_are_in_the_curve_once() -> None:
    followed = Followed()
    followed.take([*(_epoch(number, 0.1) for number in range(4)), Notice(message="before")])
    followed.take([Resumed(epoch=1, seconds={}), _epoch(2, 0.2)])
    assert [(point.epoch, point.val_accuracy) for point in followed.epochs] == [(0, 0.1), (1, 0.1), (2, 0.2)]
    followed.take([_epoch(3, 0.2)])
    assert [point.epoch for point in followed.epochs] == [0, 1, 2, 3]
    assert followed.notices == []


def test_of_a_run_that_begins_anew_nothing_is_left() -> None:
    followed = Followed()
    followed.take([StageStarted(stage="training", title="Training"), _epoch(0, 0.1), Notice(message="before")])
    followed.take([Resumed(epoch=None, seconds={})])
    assert (followed.epochs, followed.notices, followed.sentence) == ([], [], "starting")
