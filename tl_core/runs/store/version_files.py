"""The versions of one data set as files in its folder.

manifest.json             what was read: version 1
versions/N.json           how version N, from 2 on, differs from the one that it was made from; never changed
versions/N-manifest.json  what version N holds, where pictures were added; written before versions/N.json
version                   number of the current version; absent: 1
gathered.json             remedies that wait to become a version

The pictures that were added in version N, from 2 on, have the names vN-ROW: they are there before versions/N.json is.
"""

import re
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tl_core import locks
from tl_core.disk import disk_full_said, read_once, remove, write_atomically
from tl_core.documents.manifest import DatasetVersion, Manifest, Remedies
from tl_core.errors import DocumentError, InUse, LimitReached, NotFound, SpecError
from tl_core.runs.store.job_folder import JobFolder

MOST = 200
"""Versions of one data set, so that reading the last one, for which all before it are read, takes a moment."""
_PATIENCE = 5.0
"""Seconds for which a change waits for another one, which takes a fraction of one."""
_NUMBER = re.compile(rb"[1-9][0-9]{0,8}")
_ADDING = "Pictures are being added to this data set. Wait until they are here, or cancel that."
_WAY_BACK = "The Data page leads back to version 1, as it was read."


@dataclass(frozen=True)
class Versions:
    """The versions of the data set in the folder `path`. Any process may read them at any time."""

    path: Path

    @property
    def current(self) -> int:
        """Number of the version that pages show and runs take. Raises DocumentError."""
        try:
            text = (self.path / "version").read_bytes()
        except FileNotFoundError:
            return 1
        if not _NUMBER.fullmatch(text):
            raise DocumentError(f"The file version of this data set holds no number of a version. {_WAY_BACK}")
        return int(text)

    def made(self) -> dict[int, DatasetVersion]:
        """The versions from 2 on that can be opened, by number: neither they nor those that they were made from are damaged."""
        versions: dict[int, DatasetVersion] = {}
        for number in self._numbers():
            with suppress(DocumentError, NotFound):
                version = _version(self._file(number))
                if version.parent == 1 or version.parent in versions:
                    versions[number] = version
        return versions

    def manifest(self, number: int) -> Manifest:
        """What version `number` holds.

        Raises:
            NotFound: the data set was not read to the end, or has no such version.
            DocumentError: a document does not follow the schema.
        """
        file = self._file(number)
        if not file.is_file():
            missing = f"This data set has no version {number}. {_WAY_BACK}"
            raise NotFound("This data set was not read to the end." if number == 1 else missing)
        return _manifest(file, self.path)

    def apply(self, remedies: Remedies) -> int:
        """Make what `remedies` change in the current version the next one; returns its number. They wait no longer.

        Raises:
            NotFound: the data set was deleted.
            SpecError: there is no such picture or class, or no picture would stay.
            LimitReached: it has `MOST` versions.
            InUse: another session changes the data set at the same moment.
            DiskFull: no space is left.
        """
        from tl_core.data.remedying import applied

        with self._alone():
            if JobFolder(self.path).alive():
                raise InUse(_ADDING)
            before, number = self.current, self._next()
            applied(self.manifest(before), remedies)
            self._make(number, DatasetVersion(parent=before, created=time.time(), remedies=remedies))
            self._wait(self.gathered().without({*remedies.leave_out, *remedies.move, *remedies.keep}))
        return number

    def begin(self) -> int:
        """The number of the version that the job which holds the data set's lock is to make, in whose place nothing lies any more.

        Raises:
            LimitReached: it has `MOST` versions.
            InUse: another session changes the data set at the same moment.
        """
        with self._alone():
            number = self._next()
        self.discard_unpublished()
        return number

    def add(self, number: int, parent: int, manifest: Manifest) -> None:
        """Make `manifest` version `number`, which `begin` gave: it has all images of version `parent`, and then those that were added.

        Raises:
            NotFound: the data set was deleted.
            InUse: another session changes the data set at the same moment.
            DiskFull: no space is left.
        """
        added = len(manifest.images) - len(self.manifest(parent).images)
        with self._alone():
            manifest.write(self._file(number).with_name(f"{number}-manifest.json"))
            self._make(number, DatasetVersion(parent=parent, created=time.time(), added=added))

    def unpublished(self) -> list[Path]:
        """Files of versions that were begun and never made."""
        kinds = (("images", "v*-*"), ("thumbnails", "v*-*"), ("versions", "*-manifest.json"))
        files = [file for folder, name in kinds for file in (self.path / folder).glob(name)]
        made = {str(number) for number in self._numbers()}
        return [file for file in files if file.name.removeprefix("v").partition("-")[0] not in made]

    def discard_unpublished(self) -> None:
        """Remove `unpublished`, for a caller that holds the lock or the claim of the data set."""
        for file in self.unpublished():
            remove(file)

    def choose(self, number: int) -> None:
        """Make version `number` the current one.

        Raises:
            NotFound: there is no such version, or the data set was deleted.
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
        """Keep `remedies` with those that wait until they become a version; for the same pictures they take their place. Raises as `choose`."""
        with self._alone():
            self._wait(self.gathered().then(remedies))

    def take_back(self, files: Collection[str] | None = None) -> None:
        """Let the remedies for `files`, or all, wait no longer. Raises as `choose`."""
        with self._alone():
            self._wait(Remedies() if files is None else self.gathered().without(files))

    def _wait(self, remedies: Remedies) -> None:
        if remedies:
            remedies.write(self._gathered)
        else:
            remove(self._gathered)

    @property
    def _gathered(self) -> Path:
        return self.path / "gathered.json"

    def _file(self, number: int) -> Path:
        return self.path / "manifest.json" if number == 1 else self.path / "versions" / f"{number}.json"

    def _numbers(self) -> list[int]:
        """Numbers of the versions from 2 on that have a file, damaged or not, in order."""
        names = [file.name.removesuffix(".json") for file in (self.path / "versions").glob("*.json")]
        return sorted(int(name) for name in names if name != "1" and _NUMBER.fullmatch(name.encode()))

    def _next(self) -> int:
        number = max(self._numbers(), default=1) + 1
        if number > MOST:
            raise LimitReached(
                f"This data set has {MOST} versions, and may have no more. Add its pictures again as a new data set."
            )
        return number

    def _make(self, number: int, version: DatasetVersion) -> None:
        version.write(self._file(number))
        self._choose(number)

    def _choose(self, number: int) -> None:
        write_atomically(self.path / "version", str(number).encode())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # Writing would make the folder anew, and it would hold nothing else.
        if not self._file(1).is_file():
            raise NotFound("The data set was deleted meanwhile, so nothing was changed.")
        with (
            disk_full_said("a version of this data set"),
            locks.holding(self.path / "versions_lock", patience=_PATIENCE) as alone,
        ):
            if not alone:
                raise InUse("Another session changes this data set just now. Try again.")
            yield


@read_once(16)
def _manifest(file: Path, folder: Path) -> Manifest:
    """What the version in `file` holds. That of 50,000 pictures takes a quarter of a second to read."""
    from tl_core.data.remedying import applied, grown

    if file.parent == folder:
        return Manifest.read(file)
    number = int(file.stem)
    with _damage_said(number):
        version = _version(file)
        if version.parent >= number:
            raise SpecError(f"It cannot be made from version {version.parent}.")
    before = Versions(folder).manifest(version.parent)
    with _damage_said(number):
        if version.added:
            return grown(before, Manifest.read(file.with_name(f"{number}-manifest.json")))
        return applied(before, version.remedies)


@contextmanager
def _damage_said(number: int) -> Iterator[None]:
    """Raise a DocumentError that names version `number` for what is wrong with its files."""
    try:
        yield
    except (DocumentError, NotFound, SpecError) as error:
        raise DocumentError(f"Version {number} of this data set is damaged: {error.message} {_WAY_BACK}") from None


_version = read_once(256)(DatasetVersion.read)
