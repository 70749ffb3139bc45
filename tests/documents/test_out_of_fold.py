"""The out-of-fold answers of a run: written whole, read without a pickle, damage said in words."""

from pathlib import Path

import numpy as np
import pytest

from tl_core.documents.arrays import OutOfFoldAnswers
from tl_core.errors import DocumentError, NotFound

ANSWERS = np.full((3, 2), 0.5, dtype=np.float32)


@pytest.mark.parametrize("nested", [None, np.eye(4, 2, dtype=np.float32)])
def test_what_was_written_is_read(tmp_path: Path, nested: np.ndarray | None) -> None:
    OutOfFoldAnswers(np.array([0, 1, 3]), ANSWERS, nested, 0.1).write(tmp_path / "out_of_fold.npz")
    found = OutOfFoldAnswers.read(tmp_path / "out_of_fold.npz")
    assert found.c == 0.1
    assert found.rows.tolist() == [0, 1, 3]
    assert np.array_equal(found.probabilities, ANSWERS)
    assert (found.nested is None) if nested is None else np.array_equal(found.nested, nested)


def test_what_is_not_there_or_damaged_is_said(tmp_path: Path) -> None:
    path = tmp_path / "out_of_fold.npz"
    with pytest.raises(NotFound):
        OutOfFoldAnswers.read(path)
    for content in (b"", b"noise" * 100):
        path.write_bytes(content)
        with pytest.raises(DocumentError):
            OutOfFoldAnswers.read(path)
    np.savez(path, rows=np.arange(2), probabilities=ANSWERS, c=0.1)
    with pytest.raises(DocumentError, match="fit"):
        OutOfFoldAnswers.read(path)
    np.savez(path, rows=np.array([{}], dtype=object), probabilities=ANSWERS)
    with pytest.raises(DocumentError):
        OutOfFoldAnswers.read(path)
