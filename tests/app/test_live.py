"""The line of a job at work."""

from __future__ import annotations

import time

from tl_core.documents.events import Progress, StageStarted
from tl_core.documents.spec import ExpectedSeconds, TrainSpec
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
    expected = ExpectedSeconds(
        machine="cpu", measured=False, seconds={"preparing": 10, "features": 5, "training": 1000}
    )
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
