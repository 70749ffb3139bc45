"""The run that the Train page proposes: its options, what is wrong with them, what it will take, and the drawn network."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from tl_core.documents.options import Condition, TrainingOptions
from tl_core.models.registry import Network
from tl_core.runs.process.devices import expected_device
from tl_core.runs.start.training_spec import problems, setup_of, unchanged
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.train.plan import estimated, estimated_with, on_device
from tl_core.training.speed.estimate import Estimate
from tl_core.training.strategies.advice import Advice
from tl_core.training.strategies.strategies import Setup, Strategy
from ui import drawing


@dataclass(frozen=True)
class Case:
    """The run that the settings are for."""

    network: Network
    weights: str
    strategy: Strategy
    conditions: frozenset[Condition]
    """The conditions that this run meets, whatever strategy `auto` may still find."""

    @cached_property
    def own(self) -> dict[str, Any]:
        """The value of each option where the user leaves it alone."""
        return unchanged(self.strategy, self.network, self.weights)


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
    def of(cls, dataset: DatasetFolder, case: Case, chosen: str, changes: Mapping[str, Any], advice: Advice) -> Self:
        """`chosen`: name of the chosen strategy, or `auto`; `case` has the strategy that this comes to."""
        asked = {"backbone": case.network.name, "weights": case.weights, "strategy": chosen, **changes}
        options, wrong = TrainingOptions.read(asked)
        return cls(dataset, case, asked, options, tuple(problem.message for problem in wrong), advice)

    @property
    def chosen(self) -> str:
        """Name of the chosen strategy, or `auto`."""
        return str(self.options.strategy)

    def problems(self) -> list[str]:
        """Everything that is wrong with the options, a sentence each."""
        return [*self.unusable, *(problem.message for problem in problems(self.options))]

    @cached_property
    def setup(self) -> Setup:
        """What the run is set up with, with the strategy that `chosen` comes to."""
        return setup_of(self.options, self.dataset).trained_as(self.case.strategy.name)

    def estimate(self, other: str | None = None) -> Estimate:
        """Time and memory of this run; with the strategy called `other`, of one with the settings of that strategy."""
        here = on_device(self.setup, expected_device(self.options.device))
        return estimated(here, self.dataset) if other is None else estimated_with(here, other, self.dataset)

    def drawn(self) -> tuple[drawing.Block, ...]:
        """The network as blocks, with what learns."""
        return drawing.blocks(
            self.setup.network,
            self.setup.strategy,
            stages=self.setup.spec.stages,
            classes=len(self.dataset.manifest().classes),
            recipe=self.setup.spec.recipe,
            steps="gradient steps" in self.case.conditions,
            epochs=self.options.epochs,
        )
