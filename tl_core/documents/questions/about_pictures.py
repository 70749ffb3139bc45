"""Questions about the pictures of a data set: which labels are probably wrong, and which pictures are similar."""

from __future__ import annotations

from typing import Literal

from tl_core.documents.judgements import Growth, Lookalikes, SuspectLabel
from tl_core.documents.options import DEFAULT_NETWORK
from tl_core.documents.questions.question import Answer, DatasetQuestion, Handling


class LabelReview(Answer):
    """What cross-validated heads on frozen features say of a data set's labels and of its size."""

    accuracy: float
    """Share of the pictures that were answered as they are labelled, each by a head that had not seen it."""
    suspects: tuple[SuspectLabel, ...]
    """The least likely labels first; their rows are those of the manifest."""
    lookalikes: tuple[Lookalikes, ...] = ()
    """For each of `suspects`, in their order."""
    growth: Growth

    @property
    def complete(self) -> bool:
        """False in answers from before the lookalikes were named."""
        return len(self.lookalikes) == len(self.suspects)


class LabelReviewSpec(DatasetQuestion):
    """Which labels of a data set are probably wrong, and what would more pictures bring?"""

    answer = LabelReview
    job: Literal["review"] = "review"
    backbone: str = DEFAULT_NETWORK

    @property
    def handling(self) -> Handling:
        return Handling(
            "Looking for wrong labels",
            about=self.about(),
            pretrained=((self.backbone, None),),
        )


class PictureMap(Answer):
    """Pictures of a data set on a plane, similar ones near each other."""

    rows: tuple[int, ...]
    """The pictures on it, as rows of the manifest: all, or a sample."""
    x: tuple[float, ...]
    """Where each of them lies; the unit means nothing."""
    y: tuple[float, ...]
    other: tuple[int, ...]
    """For each of them the index of the class of the most similar picture with another label."""
    lookalikes: tuple[Lookalikes, ...]
    """For each of them the most similar pictures of its class and of `other`."""


class PictureMapSpec(DatasetQuestion):
    """How do the pictures of a data set lie to each other?"""

    answer = PictureMap
    job: Literal["map"] = "map"
    backbone: str = DEFAULT_NETWORK

    @property
    def handling(self) -> Handling:
        return Handling(
            "Drawing a map of the pictures",
            about=self.about(),
            lasting=True,
            pretrained=((self.backbone, None),),
        )
