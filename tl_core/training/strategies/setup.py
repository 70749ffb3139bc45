"""What a run is set up with: its spec, and the rows of the tables that the spec names. What comes after the options reads it. No torch."""

from dataclasses import dataclass, replace
from typing import Self

from tl_core.documents.spec import TrainSpec
from tl_core.models.registry import Network, WeightsRow, network
from tl_core.training.strategies.strategies import AUTO, DEFAULT, Strategy, continued, strategy, tuned


@dataclass(frozen=True)
class Setup:
    """The spec of a run with the rows that it names, which are looked up once."""

    spec: TrainSpec
    network: Network
    row: Strategy | None
    """The strategy's row; None while it is open which one that is (`default`, `auto`)."""

    @classmethod
    def of(cls, spec: TrainSpec) -> Self:
        """Raises UnknownName: the spec names a network or strategy that is in no table."""
        row = None if spec.strategy in (AUTO, DEFAULT) else strategy(spec.strategy)
        return cls(spec, network(spec.backbone), continued(row) if row and spec.continues else row)

    @property
    def strategy(self) -> Strategy:
        """Raises UnknownName while it is open."""
        return self.row or strategy(self.spec.strategy)

    @property
    def weights(self) -> WeightsRow:
        """The set of weights; where training starts from random weights, it still says how pictures are prepared."""
        return self.network.weights_row(self.spec.weights)

    def changed(self, **values: object) -> Self:
        """This setup with `values` in its spec; the network and the strategy are no such values."""
        return replace(self, spec=self.spec.model_copy(update=values))

    def trained_as(self, chosen: str, *, reason: str | None = None) -> Self:
        """This setup with the strategy called `chosen`: its epochs and recipe, with what the user changed. `reason`: why this one.

        Whether it fits the network is not checked (`misfit`). Raises UnknownName.
        """
        row = tuned(strategy(chosen), self.network)
        wanted = {name: value for name, value in self.spec.changes.items() if name != "stages"}
        epochs = int(wanted.pop("epochs", None) or row.epochs or 1)
        found = {"strategy": row.name, "reason": reason, "epochs": epochs, "recipe": row.recipe.changed(wanted)}
        return self.of(self.spec.model_copy(update=found))
