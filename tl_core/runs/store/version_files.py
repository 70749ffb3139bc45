"""The versions of one data set as files in its folder.

manifest.json    what was read: version 1
versions/N.json  how version N, from 2 on, differs from the one that it was made from; never changed
version          number of the current version; absent: 1
gathered.json    remedies that wait to become a version
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tl_core import locks
from tl_core.disk import disk_full_said, remove, write_atomically
from tl_core.documents.manifest import Manifest
from tl_core.documents.remedies import DatasetVersion, Remedies
from tl_core.errors import DocumentError, InUse, LimitReached, NotFound

MOST = 200
"""Versions of one data set, so that reading the last one, for which all before it are read, takes a moment."""
_PATIENCE = 5.0
"""Seconds for which a change waits for another one, which takes a fraction of one."""


@dataclass(frozen=True)
class Versions:
    """The versions of the data set in the folder `path`. Any process may read them at any time."""

    path: Path

    @property
    def current(self) -> int:
        """Number of the version that pages show and runs take."""
        try:
            return int((self.path / "version").read_text())
        except FileNotFoundError:
            return 1
        except ValueError:
            raise DocumentError(f"version in {self.path.name} is no number.") from None

    def made(self) -> dict[int, DatasetVersion]:
        """The versions from 2 on, by number. Raises DocumentError."""
        found = {}
        for file in (self.path / "versions").glob("[0-9]*.json"):
            found[int(file.stem)] = _version(file)
        return dict(sorted(found.items()))

    def manifest(self, number: int) -> Manifest:
        """What version `number` holds.

        Raises:
            NotFound: the data set was not read to the end, or has no such version.
            DocumentError: a document does not follow the schema.
        """
        file = self._file(number)
        try:
            found = file.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"There is no {file.name} in {file.parent.name}.") from None
        return _manifest(self.path, number, found.st_mtime_ns, found.st_ino)

    def apply(self, remedies: Remedies) -> int:
        """Make what `remedies` change in the current version the next one; returns its number. They wait no longer.

        Raises:
            SpecError: there is no such picture or class, or no picture would stay.
            LimitReached: it has `MOST` versions.
            InUse: another session changes the data set at the same moment.
            DiskFull: no space is left.
        """
        from tl_core.data.versions import applied

        with self._alone():
            before, number = self.current, max(self.made(), default=1) + 1
            if number > MOST:
                raise LimitReached(
                    f"This data set has {MOST} versions, and may have no more. Add its pictures again as a new data set."
                )
            applied(self.manifest(before), remedies)
            DatasetVersion(parent=before, created=time.time(), remedies=remedies).write(self._file(number))
            self._choose(number)
        self.gather(self.gathered().without({*remedies.leave_out, *remedies.move, *remedies.keep}))
        return number

    def choose(self, number: int) -> None:
        """Make version `number` the current one.

        Raises:
            NotFound: there is no such version.
            InUse: another session changes the data set at the same moment.
            DiskFull: no space is left.
        """
        with self._alone():
            if not self._file(number).is_file():
                raise NotFound(f"This data set has no version {number}.")
            self._choose(number)

    def gathered(self) -> Remedies:
        """Remedies that wait to become a version, for pictures of the current one. Raises NotFound, DocumentError."""
        try:
            waiting = Remedies.read(self._gathered)
        except NotFound:
            return Remedies()
        files = {image.file for image in self.manifest(self.current).images}
        return waiting.without({*waiting.leave_out, *waiting.move, *waiting.keep} - files)

    def gather(self, remedies: Remedies) -> None:
        """Keep `remedies`, in the place of those that wait, until they become a version. Raises DiskFull."""
        if remedies:
            remedies.write(self._gathered)
        else:
            remove(self._gathered)

    @property
    def _gathered(self) -> Path:
        return self.path / "gathered.json"

    def _file(self, number: int) -> Path:
        return self.path / "manifest.json" if number == 1 else self.path / "versions" / f"{number}.json"

    def _choose(self, number: int) -> None:
        write_atomically(self.path / "version", str(number).encode())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with disk_full_said("a version of this data set"):
            held = locks.take(self.path / "versions_lock", patience=_PATIENCE)
        if held is None:
            raise InUse("Another session changes this data set just now. Try again.")
        try:
            yield
        finally:
            locks.release([held])


@lru_cache(maxsize=16)
def _manifest(folder: Path, number: int, moment: int, inode: int) -> Manifest:
    """Read once while it is the same file: a page asks at every rerun, and that of 50,000 pictures takes a quarter of a second."""
    from tl_core.data.versions import applied

    del moment, inode  # the cache's key
    if number == 1:
        return Manifest.read(folder / "manifest.json")
    version = _version(folder / "versions" / f"{number}.json")
    if version.parent >= number:
        raise DocumentError(f"Version {number} of {folder.name} cannot be made from version {version.parent}.")
    return applied(Versions(folder).manifest(version.parent), version.remedies)


@lru_cache(maxsize=256)
def _version(file: Path) -> DatasetVersion:
    """Read once: the file of a version never changes, and no two data sets have one name."""
    return DatasetVersion.read(file)
