"""spec.json: what a job of any kind is asked to do."""

from typing import Annotated

from pydantic import Field

from tl_core.documents.base import Document
from tl_core.documents.racing import RaceSpec
from tl_core.documents.spec import IngestSpec, Queue, TrainSpec
from tl_core.documents.tasks import About, TaskSpec

JobSpec = IngestSpec | TrainSpec | RaceSpec | TaskSpec


def needs(spec: JobSpec) -> tuple[About | None, Queue]:
    """The data set that the job needs, and the queue that it joins."""
    if isinstance(spec, TrainSpec | RaceSpec):
        return About(spec.workspace, spec.dataset, spec.version), spec.device
    if isinstance(spec, IngestSpec):
        return None, "reading"
    return spec.about, spec.queue


class Outlook(Document):
    """What a job is expected to take still, for those who wait behind it; what is not known is None."""

    seconds: float | None = None
    memory_mb: float | None = None
    """Memory of the machine, beside what the job has already."""
    running: bool = False
    """Whether it works; else it waits."""


def pretrained(spec: JobSpec) -> tuple[tuple[str, str | None], ...]:
    """Backbone and set of weights (None: the default one) of every pretrained file that the job reads."""
    if isinstance(spec, TrainSpec):
        return ((spec.backbone, spec.weights),)
    if isinstance(spec, RaceSpec):
        return tuple(dict.fromkeys((each.backbone, each.weights) for each in spec.contestants))
    return () if isinstance(spec, IngestSpec) else spec.pretrained


class SpecFile(Document):
    """spec.json: the spec of any kind of job."""

    spec: Annotated[JobSpec, Field(discriminator="job")]
