"""Answers from a bundle with ONNX Runtime: what a user tries is the file that they take home.

Knows the bundle and the one image function. Knows no torch, no run and no truth. One session, small memory.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tl_core.data.formats import EXTENSIONS
from tl_core.data.parallel import in_order
from tl_core.data.pixels import decode, to_input
from tl_core.documents.bundle_info import BundleInfo
from tl_core.errors import BundleError, UnreadableImage
from tl_core.hardware import cores
from tl_core.serving.bundle import Bundle, read_bundle
from tl_core.serving.inspection import head_name

BATCH = 8
"""Pictures at a time: more is no faster on a CPU and takes memory in proportion."""

LONGEST_RUN = 300.0
"""Seconds for one batch."""

_one_at_a_time = threading.Lock()

Item = Path | str | bytes | Image.Image
Answer = dict[str, Any]


class Predictor:
    """A trained classifier, ready to answer. Safe to share between threads."""

    def __init__(self, bundle: Bundle | Path | str) -> None:
        """Open a run folder, a bundle folder, a bundle zip, or what `read_bundle` gave.

        Raises:
            NotFound, BundleError: as `read_bundle`.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else read_bundle(Path(bundle).expanduser())
        self._session = _open(self.bundle.onnx)

    @property
    def info(self) -> BundleInfo:
        return self.bundle.info

    @property
    def classes(self) -> tuple[str, ...]:
        return self.info.classes

    def predict(self, items: Sequence[Item], top: int = 5) -> list[Answer]:
        """One answer an item, in order; paths, bytes or PIL images.

        An answer is `{file, label, probability, top: [{label, probability}]}`; one that cannot be read is
        `{file, error: {kind, message}}` in its place.

        Raises:
            BundleError: the graph does not do what it says.
        """
        return list(self.answers(items, top=top))

    def answers(self, items: Sequence[Item], *, top: int = 5) -> Iterator[Answer]:
        """As `predict`, a few at a time: however many items there are, a handful of pictures is in memory.

        Raises:
            BundleError: the graph does not do what it says.
        """
        # While one batch is in the graph, the next is decoded.
        items = list(items)
        with (
            self._giving_back(),
            closing(in_order(lambda number: self._read(items[number]), len(items), ahead=BATCH)) as reading,
        ):
            for start in range(0, len(items), BATCH):
                chunk = items[start : start + BATCH]
                read = list(islice(reading, len(chunk)))
                pixels = [each for each in read if isinstance(each, np.ndarray)]
                rows = iter(self._probabilities(pixels))
                for number, (item, each) in enumerate(zip(chunk, read, strict=True), start=start + 1):
                    name = _name(item, number)
                    if isinstance(each, np.ndarray):
                        yield {"file": name, **self._answer(next(rows), top)}
                    else:
                        yield {"file": name, "error": each}

    def pixels(self, item: Item) -> NDArray[np.uint8]:
        """One picture as the graph takes it: uint8 (S, S, 3).

        Raises:
            UnreadableImage: it cannot be used.
            OSError: its file cannot be read.
        """
        if isinstance(item, Image.Image):
            # One picture may stand in several places, and only one thread at a time can read it.
            with _one_at_a_time:
                source: bytes | Path = _as_bytes(item)
        else:
            source = item if isinstance(item, bytes) else Path(item).expanduser()
        return to_input(decode(source), self.info.image_size, self.info.interpolation)

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, S, S, 3) to float32 (N, C), after the temperature.

        Raises:
            BundleError: the graph does not do what it says.
        """
        return self._run("logits", pixels, (len(self.classes),))

    def embeddings(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, S, S, 3) to float32 (N, D).

        Raises:
            BundleError: the graph does not do what it says.
        """
        return self._run("embedding", pixels, (self.info.embedding_size,))

    def maps(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, S, S, 3) to the last spatial maps, float32 (N, K, h, w).

        Raises:
            BundleError: the graph does not do what it says.
        """
        return self._run("map", pixels, None)

    def class_weights(self) -> NDArray[np.float32]:
        """The head's weights, float32 (C, D), for `heatmap`.

        Raises:
            BundleError: this backbone's logits are not one linear layer on its pooled map.
        """
        from safetensors import safe_open

        name = head_name(self.info)
        if not self.info.linear_on_pooled or name is None:
            raise BundleError(
                f"A heatmap cannot be read off {self.info.backbone}: more than one layer follows its map."
            )
        with safe_open(self.bundle.tensors, framework="numpy") as tensors:
            weights: NDArray[np.float32] = tensors.get_tensor(name).astype(np.float32)
        return weights.reshape(weights.shape[:2])

    def _probabilities(self, pixels: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
        shape = (len(self.classes),)
        return probabilities(self._run("logits", np.stack(pixels), shape, last=False)) if pixels else np.empty((0, 0))

    @contextmanager
    def _giving_back(self) -> Iterator[None]:
        """However it ends, the memory that the graph took meanwhile goes back to the system."""
        try:
            yield
        finally:
            with suppress(BundleError):
                size = self.info.image_size
                self._run("logits", np.empty((0, size, size, 3), dtype=np.uint8), None)

    def _read(self, item: Item) -> NDArray[np.uint8] | dict[str, str]:
        try:
            return self.pixels(item)
        except UnreadableImage as error:
            return {"kind": error.kind, "message": error.message}
        except FileNotFoundError:
            return {"kind": "not_found", "message": "There is no such file."}
        except OSError as error:
            return {"kind": "unreadable_file", "message": f"The file cannot be read: {error.strerror or error}."}

    def _answer(self, row: NDArray[np.float64], top: int) -> Answer:
        best = np.argsort(-row, kind="stable")[: max(1, top)]
        ranked = [{"label": self.classes[index], "probability": float(row[index])} for index in best]
        return {"label": ranked[0]["label"], "probability": ranked[0]["probability"], "top": ranked}

    def _run(
        self, output: str, pixels: NDArray[np.uint8], shape: tuple[int, ...] | None, *, last: bool = True
    ) -> NDArray[np.float32]:
        """`last`: no more pictures follow, so the memory that the graph took is given back."""
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

        parts: list[NDArray[np.float32]] = []
        # Even of no pictures at all, ONNX Runtime knows the shape.
        for start in range(0, max(len(pixels), 1), BATCH):
            batch = np.ascontiguousarray(pixels[start : start + BATCH])
            options = _run_options(give_memory_back=last and start + BATCH >= len(pixels))
            # No signal reaches Python while the graph runs, so a graph of somebody else's could hold the program for days.
            alarm = threading.Timer(LONGEST_RUN, setattr, (options, "terminate", True))
            alarm.daemon = True
            alarm.start()
            try:
                (part,) = self._session.run([output], {"images": batch}, options)
            except (Fail, InvalidArgument, RuntimeException) as error:
                if options.terminate:
                    raise BundleError(
                        f"The graph of the bundle {self.info.name!r} took more than {LONGEST_RUN:g} s for {len(batch)} "
                        "pictures and was stopped."
                    ) from error
                raise BundleError(
                    f"The graph of the bundle {self.info.name!r} cannot be run. Export it again."
                ) from error
            finally:
                alarm.cancel()
            if len(part) != len(batch) or (shape is not None and part.shape[1:] != shape):
                raise BundleError(
                    f"The graph of the bundle {self.info.name!r} gives {part.shape} for {output}; "
                    "that is not what its bundle.json says."
                )
            if not np.isfinite(part).all():
                raise BundleError(f"The graph of the bundle {self.info.name!r} gives values that are no numbers.")
            parts.append(part)
        return np.concatenate(parts)


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Softmax over the last axis: (N, C) to (N, C), each row sums to 1."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    normalised: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return normalised


def heatmap(spatial: NDArray[np.float32], class_weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where the evidence for one class lies: class activation mapping (Zhou et al. 2016).

    `spatial` (K, h, w) is one picture's map, `class_weights` (K,) the class's row of the head. Float32 (h, w) from 0 to 1;
    all 0 where nothing speaks for the class.
    """
    evidence = np.maximum(np.tensordot(class_weights, spatial, axes=1), 0)
    peak = float(evidence.max(initial=0.0))
    scaled: NDArray[np.float32] = (evidence / peak if peak > 0 else evidence).astype(np.float32)
    return scaled


def expand(paths: Sequence[Path | str]) -> list[Path]:
    """Files as they are, folders as the pictures in them at any depth, by name; hidden files are passed over."""
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            files.append(path)
            continue
        files += sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in EXTENSIONS
            and file.is_file()
            and not any(part.startswith((".", "__MACOSX")) for part in file.relative_to(path).parts)
        )
    return files


def _open(path: Path) -> Any:
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf, NotImplemented

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin while they wait would take the cores from a job that trains.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        # What is constant is computed with the rest: here, nothing could stop it. Our own graphs hold nothing of the kind.
        return onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=["ConstantFolding"]
        )
    except (Fail, InvalidGraph, InvalidProtobuf, NotImplemented) as error:
        raise BundleError(f"{path.name} cannot be run by the installed ONNX Runtime. Export it again.") from error


def _run_options(*, give_memory_back: bool) -> Any:
    import onnxruntime

    options = onnxruntime.RunOptions()
    if give_memory_back:
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _as_bytes(image: Image.Image) -> bytes:
    """A PIL image as a lossless file, so that it goes through the same door as every other picture."""
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
