"""What would be trained, as it is chosen on the page: options, what is wrong with them, the picture. Draws nothing."""

from __future__ import annotations

from dataclasses import dataclass

from tl_core.documents.questions import MeasureSpec
from tl_core.documents.recipe import Recipe
from tl_core.errors import GraftError
from tl_core.models.registry import Network
from tl_core.runs.process.devices import computes, detect_device
from tl_core.runs.start.options import TrainingOptions, problems
from tl_core.training.strategies.advice import Advice
from tl_core.training.strategies.strategies import Strategy
from ui import network as drawing
from ui.option_rows import Case, Changed


@dataclass(frozen=True)
class Plan:
    """A run that has not been started."""

    case: Case
    options: TrainingOptions
    unread: tuple[str, ...]
    """What was typed and is no value, in words."""
    advice: Advice
    """What `auto` would take, as far as that is known yet."""

    @classmethod
    def of(cls, case: Case, strategy: str, changed: Changed, advice: Advice) -> Plan:
        """`strategy`: the name that was chosen, `auto` among them; the case has the row that it comes to."""
        options = TrainingOptions(
            backbone=case.network.name,
            weights=case.weights,
            strategy=strategy,
            recipe=changed.recipe,
            **changed.options,
        )
        return cls(case, options, tuple(changed.problems), advice)

    @property
    def network(self) -> Network:
        return self.case.network

    @property
    def row(self) -> Strategy:
        return self.case.row

    @property
    def strategy(self) -> str:
        return str(self.options.strategy)

    @property
    def stages(self) -> int:
        return self.options.stages or int(self.case.own("stages"))

    @property
    def image_size(self) -> int:
        return self.options.image_size or int(self.case.own("image_size"))

    def problems(self) -> list[str]:
        """Everything that is wrong, a sentence each."""
        return [*self.unread, *(problem.message for problem in problems(self.options))]

    def recipe(self) -> Recipe:
        """With what was changed; the row's own where that is wrong."""
        try:
            return self.row.recipe.changed(self.options.recipe)
        except GraftError:
            return self.row.recipe

    def measure_spec(self, classes: int, row: Strategy | None = None) -> MeasureSpec:
        """The question how fast this machine is at it, or at another strategy on the same network."""
        device = detect_device()
        return MeasureSpec(
            backbone=self.network.name,
            weights=self.case.weights,
            strategy=(row or self.row).name,
            stages=self.stages,
            image_size=self.image_size,
            classes=classes,
            device=device,
            batch_size=self.options.batch_size,
            lora_rank=self.recipe().lora_rank,
            **computes(device)._asdict(),
        )

    def drawn(self, classes: int) -> tuple[drawing.Block, ...]:
        return drawing.blocks(
            self.network,
            self.row,
            stages=self.stages,
            classes=classes,
            recipe=self.recipe(),
            steps=self.case.steps,
            epochs=self.options.epochs,
        )
