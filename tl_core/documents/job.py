"""spec.json: what a job of any kind is asked to do."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tl_core.documents.base import Document
from tl_core.documents.questions import QuestionSpec
from tl_core.documents.spec import IngestSpec, TrainSpec

JobSpec = IngestSpec | TrainSpec | QuestionSpec


class SpecFile(Document):
    """spec.json: the spec of any kind of job."""

    spec: Annotated[JobSpec, Field(discriminator="job")]
