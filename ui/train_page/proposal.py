"""The run that the Train page proposes: its options, what is wrong with them, what it will take, and the drawn network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tl_core.documents.manifest import Manifest
from tl_core.documents.options import TrainingOptions
from tl_core.documents.spec import TrainSpec
from tl_core.models.registry import Network
from tl_core.runs.start.training_spec import draft, problems
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.train.estimating import estimated, estimated_with
from tl_core.training.speed.estimate import Estimate
from tl_core.training.strategies.advice import Advice
from tl_core.training.strategies.strategies import Strategy
from ui import drawing
from ui.train_page.advanced import Case


@dataclass(frozen=True)
class Proposal:
    """A run that has not been started."""

    dataset: DatasetFolder
    case: Case
    asked: Mapping[str, Any]
    """Every option that was chosen, by its name."""
    options: TrainingOptions
    """The options in `asked` that can be used."""
    unusable: tuple[str, ...]
    """What is wrong with the options in `asked` that cannot be used, a sentence for each."""
    advice: Advice
    """What `auto` would take, as far as that is known yet."""

    @classmethod
    def of(
        cls, dataset: DatasetFolder, case: Case, chosen: str, changes: Mapping[str, Any], advice: Advice
    ) -> Proposal:
        """`chosen`: name of the chosen strategy, or `auto`; `case` has the strategy that this comes to."""
        asked = {"backbone": case.network.name, "weights": case.weights, "strategy": chosen, **changes}
        options, wrong = TrainingOptions.read(asked)
        return cls(dataset, case, asked, options, tuple(problem.message for problem in wrong), advice)

    @property
    def manifest(self) -> Manifest:
        return self.dataset.manifest()

    @property
    def network(self) -> Network:
        return self.case.network

    @property
    def strategy(self) -> Strategy:
        """What `chosen` comes to."""
        return self.case.strategy

    @property
    def chosen(self) -> str:
        """Name of the chosen strategy, or `auto`."""
        return str(self.options.strategy)

    def problems(self) -> list[str]:
        """Everything that is wrong with the options, a sentence each."""
        return [*self.unusable, *(problem.message for problem in problems(self.options))]

    @cached_property
    def spec(self) -> TrainSpec:
        """The run as its time is estimated."""
        return draft(self.options, self.dataset).model_copy(
            update={
                "strategy": self.strategy.name,
                "epochs": self.options.epochs or self.strategy.epochs or 1,
                "recipe": self.strategy.recipe.changed(self.options.recipe),
            }
        )

    def estimate(self, other: str | None = None) -> Estimate:
        """Time and memory of this run; with the strategy called `other`, of one with the settings of that strategy."""
        if other is None:
            return estimated(self.spec, self.dataset)
        return estimated_with(self.spec, other, self.dataset)

    def drawn(self) -> tuple[drawing.Block, ...]:
        """The network as blocks, with what learns."""
        return drawing.blocks(
            self.network,
            self.strategy,
            stages=self.spec.stages,
            classes=len(self.manifest.classes),
            recipe=self.spec.recipe,
            steps="gradient steps" in self.case.conditions,
            epochs=self.options.epochs,
        )
