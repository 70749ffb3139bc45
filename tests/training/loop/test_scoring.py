"""Images are scored on a GPU in the largest parts that fit its memory. The CPU stands for one here."""

import numpy as np
import pytest
from torch import Tensor

from tests.training.twin import finish, little_memory, on_pixels, pictures, spec, trainer_of, twin
from tl_core.errors import DeviceError
from tl_core.models.build import Backbone
from tl_core.training.loop import steps
from tl_core.training.loop.inputs import Inputs, Stream
from tl_core.training.loop.steps import Trainer

pytestmark = pytest.mark.usefixtures("as_on_a_gpu")
ROWS = np.arange(70)


def _trainer(backbone: Backbone, inputs: Inputs | None = None) -> Trainer:
    return trainer_of(backbone, inputs or on_pixels(backbone), spec(micro_batch=4), "full_fine_tuning")


def test_scoring_doubles_its_parts_and_later_epochs_take_what_was_found() -> None:
    backbone = twin()
    sizes = little_memory(backbone.stages[0][1], 20)
    trainer = _trainer(backbone)
    _, events = finish(trainer.evaluate(ROWS))
    assert sizes == [4, 8, 16, 32, 16, 16, 10]
    assert (trainer.micro_batch, events) == (4, []), "training steps keep their own size"
    sizes.clear()
    finish(trainer.evaluate(ROWS))
    assert sizes == [16, 16, 16, 16, 6]


def test_the_scores_are_those_of_micro_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = _trainer(twin()), _trainer(twin())
    finish(large.evaluate(ROWS))
    running, _ = finish(large.look_back(ROWS))
    monkeypatch.setattr(steps, "STEADY", ("cpu",))
    finish(small.evaluate(ROWS))
    assert large.scores.loss == pytest.approx(small.scores.loss, abs=1e-5)
    assert large.scores.accuracy == small.scores.accuracy == running.accuracy


def test_a_part_has_no_more_bytes_than_are_copied_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = twin()
    pixels, _ = pictures()
    monkeypatch.setattr(steps, "PART_BYTES", 9 * pixels[:1].nbytes)
    sizes = little_memory(backbone.stages[0][1], 100)
    finish(_trainer(backbone).evaluate(ROWS))
    assert max(sizes) == 8


def test_memory_for_not_even_one_image_says_what_to_do() -> None:
    backbone = twin()
    little_memory(backbone.stages[0][1], 0)
    with pytest.raises(DeviceError, match="smaller image size"):
        finish(_trainer(backbone).evaluate(ROWS))


def test_parts_of_the_size_that_was_found_are_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, (pixels, _) = twin(), pictures()
    little_memory(backbone.stages[0][1], 20)
    inputs = on_pixels(backbone)
    taken: list[int] = []

    class Noted(Stream):
        def take(self, rows: np.ndarray) -> Tensor | None:
            found = super().take(rows)
            taken.append(0 if found is None else len(found))
            return found

    def expect(batches: list[np.ndarray]) -> None:
        inputs._stream = Noted(pixels, batches, pinned=False)

    monkeypatch.setattr(inputs, "expect", expect)
    trainer = _trainer(backbone, inputs)
    finish(trainer.evaluate(ROWS))
    assert taken[0] == 4
    taken.clear()
    before = trainer.scores
    finish(trainer.evaluate(ROWS))
    assert taken == [16, 16, 16, 16, 6]
    assert trainer.scores.loss == pytest.approx(before.loss, abs=1e-5)
