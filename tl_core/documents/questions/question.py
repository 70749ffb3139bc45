"""What every small question has: what it is asked, how it is treated as a job, and the document that answers it.

A question needs torch or the device, so a worker answers it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple, Self

from tl_core.documents.base import Document
from tl_core.documents.options import Device
from tl_core.documents.spec import Queue


class Answer(Document):
    """A question's answer, `result.json` in its folder."""

    @property
    def complete(self) -> bool:
        """Whether the same question would be answered in the same way today; where not, it is answered again."""
        return True


class About(NamedTuple):
    """The data set that a question is about."""

    workspace: str
    """Token of the workspace that holds the data set."""
    dataset: str
    """Id of the data set."""
    version: int = 1
    """Number of its version."""
    images: tuple[int, ...] = ()
    """Indices into the manifest's images, where the question is about some of them."""
    run: str | None = None
    """Id of the run that the question is about, which learned from this data set; None where it is about no run."""


class Handling(NamedTuple):
    """How a question is handled as a job."""

    title: str
    """What the job does, for the user."""
    about: About | None = None
    """The data set that is held while the question is answered; None where it needs none."""
    waits_for: Queue = "questions"
    """The queue that the job joins: that of the device that it needs, or that of the questions, which need none."""
    lasting: bool = False
    """Whether it takes so long that every page shows how far it is."""
    pretrained: tuple[tuple[str, str | None], ...] = ()
    """Backbone and set of weights (None: the default one) of every pretrained file that the answer depends on."""
    describes: str | None = None
    """Name of the network that the answer adds to those of the workspace; the answer is valid while the workspace lists it."""


class Question(Document):
    """What a question is asked; its class says how it is handled."""

    answer: ClassVar[type[Answer] | None] = None
    """The document in `result.json`; None where the answer consists of other files."""

    @property
    def handling(self) -> Handling:
        raise NotImplementedError

    def canonical(self, resolve: Callable[[str], Device]) -> Self:
        """The question without what makes no difference to its answer, and with the device that `resolve` finds for it."""
        return self


class DatasetQuestion(Question):
    """What a question about the pictures of a data set is asked."""

    workspace: str
    """Token of the workspace that holds the data set."""
    dataset: str
    """Id of the data set."""
    version: int = 1
    """Number of its version."""

    def about(self, *images: int) -> About:
        """What the question is about, for its `handling`; `images` are indices into the manifest's images."""
        return About(self.workspace, self.dataset, self.version, images)


class RunQuestion(Question):
    """What a question about a finished run is asked: the run, and the data set that it learned from, in that version.

    `tl_core.runs.questions.about_run` makes such a question and opens what it names.
    """

    workspace: str
    """Token of the workspace that holds both."""
    run: str
    """Id of the run."""
    made: float
    """When the run's bundle was made, seconds since the epoch; a run with another bundle gets another answer."""
    dataset: str
    version: int = 1

    def about(self, *images: int) -> About:
        """What the question is about, for its `handling`; `images` are indices into the manifest's images."""
        return About(self.workspace, self.dataset, self.version, images, self.run)
