"""The twin network's family, in the table while a test runs; one thread, for such a small one gains nothing from more."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.training.tower import tower_family
from tests.training.twin import FAMILY, SIZE, twin
from tl_core.models.graphs.export import ONNX_NAME, TENSORS_NAME
from tl_core.models.graphs.from_torch import export_backbone
from tl_core.models.registry import FAMILIES

__all__ = ["tower_family"]


@pytest.fixture
def twin_family(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(FAMILIES, FAMILY.name, FAMILY)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The twin's folder, as `exported_backbone` leaves one; written once, for that takes seconds."""
    folder = tmp_path_factory.mktemp("exported") / "twin-none-32-abc"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, FAMILY.name, FAMILY)
        backbone = twin()
        export_backbone(backbone, SIZE, folder / ONNX_NAME)
        save_file(backbone.tensors(head=False), folder / TENSORS_NAME)
    return folder
