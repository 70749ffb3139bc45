"""Images are scored on a GPU in the largest parts that fit its memory. The CPU stands for one here."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.twin import finish, pictures, spec, twin
from tl_core.errors import DeviceError
from tl_core.models.build import Backbone
from tl_core.training.loop import steps
from tl_core.training.loop.inputs import Inputs, Stream
from tl_core.training.loop.steps import Trainer
from tl_core.training.strategies.strategies import strategy

pytestmark = pytest.mark.usefixtures("twin_family")

ROWS = np.arange(70)


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "STEADY", ())


def _trainer(backbone: Backbone, inputs: Inputs | None = None) -> Trainer:
    pixels, labels = pictures()
    inputs = inputs or Inputs.of_pixels(backbone, pixels, frozen=0, device=torch.device("cpu"), level="none")
    plan = spec(micro_batch=4)
    return Trainer(backbone, inputs, labels, spec=plan, strategy=strategy("full_fine_tuning"), frozen=0)


def _sizes(backbone: Backbone, *, fitting: int) -> list[int]:
    """The sizes of all parts that are tried; more than `fitting` images do not fit the memory."""
    sizes: list[int] = []

    def note(module: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
        sizes.append(len(given[0]))
        if len(given[0]) > fitting:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    backbone.stages[0][1].register_forward_pre_hook(note)
    return sizes


def test_scoring_doubles_its_parts_and_later_epochs_take_what_was_found() -> None:
    backbone = twin()
    sizes = _sizes(backbone, fitting=20)
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
    sizes = _sizes(backbone, fitting=100)
    finish(_trainer(backbone).evaluate(ROWS))
    assert max(sizes) == 8


def test_memory_for_not_even_one_image_says_what_to_do() -> None:
    backbone = twin()
    _sizes(backbone, fitting=0)
    with pytest.raises(DeviceError, match="smaller image size"):
        finish(_trainer(backbone).evaluate(ROWS))


def test_parts_of_the_size_that_was_found_are_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, (pixels, _) = twin(), pictures()
    _sizes(backbone, fitting=20)
    inputs = Inputs.of_pixels(backbone, pixels, frozen=0, device=torch.device("cpu"), level="none")
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
