"""embeddings.npz and out_of_fold.npz: what is written is read, without a pickle, and what is no such file is refused in words."""

from pathlib import Path

import numpy as np
import pytest

from tl_core.documents.arrays import Embeddings, OutOfFoldAnswers
from tl_core.errors import DocumentError, NotFound

ANSWERS = np.full((3, 2), 0.5, dtype=np.float32)
PICKLE = np.array([{}], dtype=object)


def test_embeddings_are_read_in_half_precision(tmp_path: Path) -> None:
    vectors = np.array([[0.5, 1 / 3], [1e6, -1e6]], dtype=np.float32)
    Embeddings.of(np.array([0, 3]), vectors).write(tmp_path / "embeddings.npz")
    found = Embeddings.read(tmp_path / "embeddings.npz")
    assert found.rows.tolist() == [0, 3]
    assert found.vectors.dtype == np.float16
    assert found.vectors[0] == pytest.approx(vectors[0], rel=1e-3)
    assert found.vectors[1].tolist() == [65504, -65504], "values beyond the range are clipped, not infinite"


@pytest.mark.parametrize("nested", [None, np.eye(4, 2, dtype=np.float32)])
def test_out_of_fold_answers_are_read_as_they_were(tmp_path: Path, nested: np.ndarray | None) -> None:
    OutOfFoldAnswers(np.array([0, 1, 3]), ANSWERS, 0.1, nested).write(tmp_path / "out_of_fold.npz")
    found = OutOfFoldAnswers.read(tmp_path / "out_of_fold.npz")
    assert (found.c, found.rows.tolist()) == (0.1, [0, 1, 3])
    assert np.array_equal(found.probabilities, ANSWERS)
    assert (found.nested is None) if nested is None else np.array_equal(found.nested, nested)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (Embeddings, {"rows": np.arange(2)}),
        (Embeddings, {"rows": np.arange(2), "vectors": np.zeros((3, 4), dtype=np.float16)}),
        (Embeddings, {"rows": np.array(2), "vectors": np.zeros((3, 4), dtype=np.float16)}),
        (Embeddings, {"rows": PICKLE, "vectors": np.zeros((1, 4), dtype=np.float16)}),
        (OutOfFoldAnswers, {"rows": np.arange(2), "probabilities": ANSWERS, "c": 0.1}),
        (OutOfFoldAnswers, {"rows": np.arange(3), "probabilities": ANSWERS}),
        (OutOfFoldAnswers, {"rows": PICKLE, "probabilities": ANSWERS[:1], "c": 0.1}),
        (OutOfFoldAnswers, b""),
        (OutOfFoldAnswers, b"noise" * 100),
    ],
)  # fmt: skip
def test_what_is_not_there_or_damaged_is_said(
    tmp_path: Path, kind: type[Embeddings | OutOfFoldAnswers], content: dict[str, np.ndarray] | bytes
) -> None:
    path = tmp_path / "arrays.npz"
    with pytest.raises(NotFound, match="There are no"):
        kind.read(path)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with pytest.raises(DocumentError, match=f"holds no {kind.what}"):
        kind.read(path)
