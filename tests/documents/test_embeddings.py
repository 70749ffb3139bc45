"""embeddings.npz: what is written is read, and what is no such file is refused."""

from pathlib import Path

import numpy as np
import pytest

from tl_core.documents.arrays import Embeddings
from tl_core.errors import DocumentError, NotFound


def test_what_was_written_is_read_in_half_precision(tmp_path: Path) -> None:
    vectors = np.array([[0.5, 1 / 3], [1e6, -1e6]], dtype=np.float32)
    Embeddings.of(np.array([0, 3]), vectors).write(tmp_path / "embeddings.npz")
    found = Embeddings.read(tmp_path / "embeddings.npz")
    assert found.rows.tolist() == [0, 3]
    assert found.vectors.dtype == np.float16
    assert found.vectors[0] == pytest.approx(vectors[0], rel=1e-3)
    assert found.vectors[1].tolist() == [65504, -65504], "values beyond the range are clipped, not infinite"


@pytest.mark.parametrize(
    "arrays",
    [
        {"rows": np.arange(2)},
        {"rows": np.arange(2), "vectors": np.zeros((3, 4), dtype=np.float16)},
        {"rows": np.array([{}], dtype=object), "vectors": np.zeros((1, 4), dtype=np.float16)},
    ],
    ids=["one is missing", "they do not fit", "a pickle"],
)
def test_what_holds_no_embeddings_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    path = tmp_path / "embeddings.npz"
    with pytest.raises(NotFound):
        Embeddings.read(path)
    np.savez(path, **arrays)
    with pytest.raises(DocumentError, match="holds no embeddings"):
        Embeddings.read(path)
