"""Documents say all that is wrong with a file at once, are never half written, and never name a path; those of arrays hold no pickle."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from tl_core.documents.arrays import Embeddings, OutOfFoldAnswers
from tl_core.documents.events import EVENT, Progress, Status
from tl_core.documents.manifest import ImageEntry, Manifest, SplitRecord
from tl_core.documents.spec import IngestSpec, TrainSpec
from tl_core.documents.tasks import SpecFile
from tl_core.errors import DiskFull, DocumentError, NotFound


def manifest(**changes: object) -> Manifest:
    image = {"sha256": "00", "label": 0, "name": "cat/1.jpg", "file": "000001.jpg", "width": 8, "height": 8}
    return Manifest.model_validate(
        {"name": "pets", "created": 0.0, "source": "pets", "classes": ["cat", "dog"], "images": [image | changes]}
    )


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    spec = TrainSpec(name="a", workspace="0" * 32, dataset="1", weights="w", image_size=224)
    SpecFile(spec=spec).write(tmp_path / "new" / "spec.json")
    assert SpecFile.read(tmp_path / "new" / "spec.json").spec == spec
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["spec.json"]


@pytest.mark.parametrize("group", [-1, 10**30])
def test_a_split_with_groups_that_are_no_numbers_of_groups_is_refused(group: int) -> None:
    text = json.dumps({"parts": {"train": {"0" * 64: group}}})
    with pytest.raises(DocumentError, match=r"split\.json is not a valid SplitRecord"):
        SplitRecord.parse(text, "split.json")


def test_a_document_of_another_version_is_refused_in_a_sentence(tmp_path: Path) -> None:
    written = SpecFile(spec=IngestSpec(name="pets", source_kind="folder", source="/pets")).model_dump()
    written["spec"]["schema_version"] = 3
    with pytest.raises(DocumentError, match=r"^spec\.json was written by another version of Graft"):
        SpecFile.parse(json.dumps(written), "spec.json")


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(json.dumps({"state": "asleep", "started": "noon", "extra": 1}))
    with pytest.raises(DocumentError) as raised:
        Status.read(tmp_path / "status.json")
    for word in ("status.json", "state", "started", "extra"):
        assert word in raised.value.message


def test_a_missing_file_and_a_cut_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no status\.json"):
        Status.read(tmp_path / "status.json")
    (tmp_path / "status.json").write_text('{"state": "runn')
    with pytest.raises(DocumentError):
        Status.read(tmp_path / "status.json")


def test_a_full_disk_leaves_the_old_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "status.json"
    Status(state="running").write(path)

    def full(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFull, match=r"status\.json"):
        Status(state="succeeded").write(path)
    assert Status.read(path).state == "running"
    assert [entry.name for entry in tmp_path.iterdir()] == ["status.json"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/b.jpg", "..", "a.jpg\n", "a.svg"])
def test_a_manifest_never_names_a_path(name: str) -> None:
    with pytest.raises(ValueError, match="file"):
        manifest(file=name)


@pytest.mark.parametrize("label", [-1, 2, 99])
def test_every_label_names_a_class(label: int) -> None:
    with pytest.raises(ValueError, match="label"):
        manifest(label=label)


def test_counts_are_in_class_order_and_name_empty_classes() -> None:
    assert list(manifest().counts().items()) == [("cat", 1), ("dog", 0)]
    assert isinstance(manifest().images[0], ImageEntry)


def test_an_event_is_one_line_that_says_its_type() -> None:
    line = EVENT.dump_json(Progress(stage="features", done=1, total=2))
    assert b"\n" not in line
    assert EVENT.validate_json(line) == EVENT.validate_json(line)
    assert isinstance(EVENT.validate_json(line), Progress)


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
