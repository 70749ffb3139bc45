"""spec.json: what a job of any kind is asked to do."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tl_core.documents.base import Document
from tl_core.documents.options import Device
from tl_core.documents.questions import About, QuestionSpec
from tl_core.documents.spec import IngestSpec, TrainSpec

JobSpec = IngestSpec | TrainSpec | QuestionSpec


def needs(spec: JobSpec) -> tuple[About | None, Device | None]:
    """The data set that the job needs, and the device whose queue it joins."""
    if isinstance(spec, TrainSpec):
        return About(spec.workspace, spec.dataset), spec.device
    if isinstance(spec, IngestSpec):
        return About(spec.extends.workspace, spec.extends.dataset) if spec.extends else None, None
    return spec.handling.about, spec.handling.waits_for


class SpecFile(Document):
    """spec.json: the spec of any kind of job."""

    spec: Annotated[JobSpec, Field(discriminator="job")]
