"""The small networks' families, in the table while a test runs, and the twin as its files."""

from pathlib import Path

import pytest
from safetensors.torch import save_file

from tests.training import tower
from tests.training.twin import FAMILY, SIZE, twin
from tl_core.models.graphs.export import ONNX_NAME, TENSORS_NAME
from tl_core.models.graphs.from_torch import export_backbone
from tl_core.models.registry import FAMILIES


@pytest.fixture(autouse=True)
def small_families(monkeypatch: pytest.MonkeyPatch) -> None:
    for family in (FAMILY, tower.FAMILY):
        monkeypatch.setitem(FAMILIES, family.name, family)


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
