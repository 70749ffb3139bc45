"""Adds a network that only timm knows to the backbones of a workspace."""

from collections.abc import Generator

from tl_core.documents.events import Event
from tl_core.documents.tasks import DescribeSpec
from tl_core.models.metadata.timm_network import describe_network
from tl_core.runs.store.folders import TaskFolder
from tl_core.runs.store.store import Workspace


def answer(task: TaskFolder) -> Generator[Event, None, None]:
    """Write the row of the network into the store's folder `networks`, and list its name in the workspace.

    Raises:
        UnknownName: timm does not know it either.
        ModelError: it cannot be a backbone.
    """
    # It is looked at anew where another workspace has added it, which nobody learns from the time that it takes.
    row = yield from describe_network(task.spec_as(DescribeSpec).network)
    Workspace(task.workspace_folder).add_backbone(row.name)
