"""Every kind of small question."""

from __future__ import annotations

from tl_core.documents.questions.about_backbones import DescribeSpec, FeatureMapsSpec, MeasureSpec, RankSpec
from tl_core.documents.questions.about_pictures import LabelReviewSpec, PictureMapSpec
from tl_core.documents.questions.before_training import LearningRateSpec, PreviewSpec
from tl_core.documents.questions.finished_runs import EvidenceSpec, RobustnessSpec, SlicesSpec

QuestionSpec = (
    DescribeSpec
    | MeasureSpec
    | RankSpec
    | LearningRateSpec
    | PreviewSpec
    | FeatureMapsSpec
    | LabelReviewSpec
    | PictureMapSpec
    | SlicesSpec
    | RobustnessSpec
    | EvidenceSpec
)
"""Every kind of question; `job` in the JSON tells which."""
