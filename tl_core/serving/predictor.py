"""Classifies pictures with ONNX Runtime and the files of a bundle, without torch.

The app, the command line and the report all use it, so what a user tries is exactly what the downloaded bundle does.
"""

import io
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tl_core.data.formats import EXTENSIONS
from tl_core.data.pace import Pace, in_order
from tl_core.data.pixels import read_input
from tl_core.data.sources import path_of
from tl_core.documents.bundle_info import BundleInfo
from tl_core.documents.events import Event
from tl_core.errors import BundleError, SpecError, UnreadableImage
from tl_core.evaluation.metrics import probabilities
from tl_core.models.graphs.rules import BATCH
from tl_core.serving.bundle import Bundle, read_bundle
from tl_core.serving.bundle_files import INFO
from tl_core.serving.heatmaps import class_weights, evidence, linear
from tl_core.serving.onnx_graph import OnnxSession

_PART = 8 * BATCH
"""Pictures between two events of progress."""

_one_at_a_time = threading.Lock()

Item = Path | str | bytes | Image.Image
Answer = dict[str, Any]
Read = Callable[[bytes | Path, int, str], NDArray[np.uint8]]
"""What decodes a picture, as `pixels.read_input` does, which decodes in this process; that of a `guarded.Pool` does so in another."""


class Session(Protocol):
    """What runs the graph of a bundle."""

    def run(self, outputs: Sequence[str], batch: NDArray[np.uint8], *, last: bool) -> list[NDArray[np.float32]]: ...


class Insight(NamedTuple):
    """What a bundle says of one picture, and from what."""

    probabilities: NDArray[np.float64]
    """Of each class, (C,)."""
    embedding: NDArray[np.float32]
    """(D,)."""
    evidence: NDArray[np.float32]
    """How much each position speaks for each class, (C, h, w), as `heatmaps.evidence`; (0, 1, 1) where it takes gradients."""


class Predictor:
    """A trained classifier, ready to classify pictures. Safe to share between threads."""

    def __init__(self, bundle: Bundle | Path | str, session: Session | None = None, *, batch: int = BATCH) -> None:
        """Open a run folder, a bundle folder, a bundle zip, or a bundle that was read already.

        `session` runs the bundle's graph, for `batch` pictures at once; without one, this process does.

        Raises:
            NotFound, BundleError: as `read_bundle`.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else read_bundle(Path(bundle).expanduser())
        self._session = session or OnnxSession(self.bundle.onnx)
        self._batch = batch

    @property
    def info(self) -> BundleInfo:
        return self.bundle.info

    @property
    def classes(self) -> tuple[str, ...]:
        return self.info.classes

    def predict(self, items: Sequence[Item], top: int = 5, *, read: Read = read_input) -> list[Answer]:
        """One answer for each item (a path, bytes or a PIL image), in order. `read` decodes them.

        An answer is `{file, label, probability, top: [{label, probability}]}` with the `top` likeliest classes; that of an
        item that cannot be read is `{file, error: {kind, message}}`. Where the bundle has a threshold, `sure` says whether the
        probability reaches it.

        Raises:
            BundleError: the graph does not do what it says.
            SpecError: `items` is one of them, and no list.
        """
        if isinstance(items, Item):
            raise SpecError("predict takes a list of pictures, also for one: predict([picture]).")
        return list(self.answers(items, top=top, read=read))

    def answers(self, items: Sequence[Item], *, top: int = 5, read: Read = read_input) -> Iterator[Answer]:
        """As `predict`, but one answer after the other, with only a few batches of pictures in memory.

        Raises:
            BundleError: the graph does not do what it says.
        """
        # Threads decode the next pictures while the graph runs.
        items = list(items)
        with (
            self._giving_back(),
            closing(in_order(lambda number: self._read(items[number], read), len(items), ahead=BATCH)) as reading,
        ):
            for start in range(0, len(items), self._batch):
                chunk = items[start : start + self._batch]
                inputs = list(islice(reading, len(chunk)))
                pixels = [each for each in inputs if isinstance(each, np.ndarray)]
                # The memory for a batch is kept for the next one.
                logits = self._run(["logits"], np.stack(pixels), last=False)[0] if pixels else np.empty((0, 1))
                rows = iter(probabilities(logits))
                for number, (item, each) in enumerate(zip(chunk, inputs, strict=True), start=start + 1):
                    name = _name(item, number)
                    if isinstance(each, np.ndarray):
                        yield {"file": name, **self.ranked(next(rows), top)}
                    else:
                        yield {"file": name, "error": each}

    def pixels(self, item: Item, *, read: Read = read_input) -> NDArray[np.uint8]:
        """One picture, decoded by `read`, as the input of the graph: uint8 (S, S, 3).

        Raises:
            UnreadableImage: it cannot be used.
            OSError: its file cannot be read.
        """
        if isinstance(item, Image.Image):
            # The list may hold the same image object twice, and Pillow reads an object in one thread at a time only.
            with _one_at_a_time:
                source: bytes | Path = _as_bytes(item)
        else:
            source = item if isinstance(item, bytes) else Path(item).expanduser()
        return read(source, self.info.image_size, self.info.interpolation)

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The logits of `pixels` uint8 (N, S, S, 3), divided by the temperature: float32 (N, C).

        Raises:
            BundleError: the graph does not do what it says.
        """
        return self._run(["logits"], pixels)[0]

    def ask(self, pixels: NDArray[np.uint8], rows: NDArray[np.intp]) -> Generator[Event, None, NDArray[np.float32]]:
        """The logits, float32 (M, C), of the pictures `rows` (M,) of `pixels` uint8 (N, S, S, 3), with the progress as events.

        Raises:
            BundleError: the graph does not do what it says.
        """
        pace = Pace("evaluation", len(rows))
        parts = []
        for start in range(0, len(rows), _PART):
            parts.append(self.logits(pixels[rows[start : start + _PART]]))
            yield from pace.at(min(start + _PART, len(rows)))
        return np.concatenate(parts)

    def embeddings(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The embeddings of `pixels` uint8 (N, S, S, 3): float32 (N, D).

        Raises:
            BundleError: the graph does not do what it says.
        """
        return self._run(["embedding"], pixels)[0]

    def insight(self, pixels: NDArray[np.uint8]) -> Insight:
        """The answer to the picture `pixels` uint8 (S, S, 3) and what it rests on, in one run of the graph.

        Raises:
            BundleError: the graph does not do what it says.
        """
        logits, embedding, spatial = self._run(["logits", "embedding", "map"], pixels[None])
        positions = np.empty((0, 1, 1), dtype=np.float32)
        if linear(self.info):
            weights = class_weights(self.bundle)
            if spatial.shape[1] != weights.shape[1]:
                raise BundleError(
                    f"The map of the bundle {self.info.name!r} does not have a channel for each weight of its head."
                )
            positions = evidence(spatial[0], weights)
        return Insight(probabilities(logits)[0], embedding[0], positions)

    @contextmanager
    def _giving_back(self) -> Iterator[None]:
        """In the end, also after an error, return the memory that ONNX Runtime took to the system."""
        try:
            yield
        finally:
            with suppress(BundleError):
                size = self.info.image_size
                self._run(["logits"], np.empty((0, size, size, 3), dtype=np.uint8))

    def _read(self, item: Item, read: Read) -> NDArray[np.uint8] | dict[str, str]:
        try:
            return self.pixels(item, read=read)
        except UnreadableImage as error:
            return {"kind": error.kind, "message": error.message}
        except FileNotFoundError:
            return {"kind": "not_found", "message": "There is no such file."}
        except OSError as error:
            return {"kind": "unreadable_file", "message": f"The file cannot be read: {error.strerror or error}."}

    def ranked(self, probabilities: NDArray[np.float64], top: int = 5) -> Answer:
        """The answer of these `probabilities` (C,), as `predict` gives it, without its file."""
        best = np.argsort(-probabilities, kind="stable")[: max(1, top)]
        ranked = [{"label": self.classes[index], "probability": float(probabilities[index])} for index in best]
        answer: Answer = {"label": ranked[0]["label"], "probability": ranked[0]["probability"], "top": ranked}
        if self.info.threshold is not None:
            answer["sure"] = answer["probability"] >= self.info.threshold
        return answer

    def _run(
        self, outputs: Sequence[str], pixels: NDArray[np.uint8], *, last: bool = True
    ) -> list[NDArray[np.float32]]:
        """The arrays `outputs` of the graph for all pictures, checked.

        `last`: no further call follows soon, so the memory that ONNX Runtime took is returned.
        """
        parts: list[list[NDArray[np.float32]]] = []
        # Without pictures the graph is run once, too, because it knows the shape of the output.
        for start in range(0, max(len(pixels), 1), self._batch):
            batch = np.ascontiguousarray(pixels[start : start + self._batch])
            parts.append(self._session.run(outputs, batch, last=last and start + self._batch >= len(pixels)))
            for output, array in zip(outputs, parts[-1], strict=True):
                self._require(output, array, len(batch))
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _require(self, output: str, array: NDArray[np.float32], pictures: int) -> None:
        """Raises BundleError where the array is not what bundle.json says of `output`, or holds what is no number."""
        row = {"logits": (len(self.classes),), "embedding": (self.info.embedding_size,)}.get(output, array.shape[1:])
        if array.shape != (pictures, *row):
            raise BundleError(
                f"The graph of the bundle {self.info.name!r} gives {array.shape} for {output}; "
                f"that is not what its {INFO} says."
            )
        if not np.isfinite(array).all():
            raise BundleError(f"The graph of the bundle {self.info.name!r} gives values that are no numbers.")


def expand(paths: Sequence[Path | str]) -> list[Path]:
    """Files as they are; for a folder, the pictures in it at any depth, sorted by path, without hidden files.

    Raises NotFound for a blank name, which would be the working folder.
    """
    files: list[Path] = []
    for path in map(path_of, paths):
        if path.is_dir():
            files += sorted(
                file
                for file in path.rglob("*")
                if file.suffix.lower() in EXTENSIONS
                and file.is_file()
                and not any(part.startswith((".", "__MACOSX")) for part in file.relative_to(path).parts)
            )
        else:
            files.append(path)
    return files


def _as_bytes(image: Image.Image) -> bytes:
    """A PIL image as a lossless file, so that it is decoded like every other picture."""
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
    elif upright.mode not in ("RGB", "L", "CMYK", "I;16", "I", "F"):
        upright = upright.convert("RGB")
    buffer = io.BytesIO()
    upright.save(buffer, "TIFF", exif=b"")
    return buffer.getvalue()


def _name(item: Item, number: int) -> str:
    if isinstance(item, bytes):
        return f"image {number}"
    if isinstance(item, Image.Image):
        return str(getattr(item, "filename", "")) or f"image {number}"
    return str(item)
