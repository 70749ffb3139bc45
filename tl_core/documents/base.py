"""What every document has: a schema version, validation on reading, an atomic write."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from tl_core.disk import write_atomically
from tl_core.errors import DocumentError, NotFound

MANY_PROBLEMS = 20
"""More than a message should list."""
_SHOWN = 80
"""The most characters of a name in a message."""


class Record(BaseModel):
    """A part of a document: immutable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Document(Record):
    """One JSON file that crosses a process boundary."""

    schema_version: Literal[1] = 1

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> Self:
        """Validate JSON `text`; `where` names its source in the error.

        Raises:
            DocumentError: with all problems at once, or the first of many.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=False, include_input=False)
            if any(problem["loc"][-1:] == ("schema_version",) for problem in errors):
                raise DocumentError(
                    f"{where} was written by another version of Graft, whose documents are not read."
                ) from None
            problems = [
                f"{'.'.join(str(part)[:_SHOWN] for part in problem['loc']) or 'file'}: {problem['msg']}"
                for problem in errors[:MANY_PROBLEMS]
            ]
            if len(errors) > MANY_PROBLEMS:
                problems.append(f"{len(errors) - MANY_PROBLEMS:,} more")
            raise DocumentError(f"{where} is not a valid {cls.__name__} document: {'; '.join(problems)}.") from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and validate the file at `path`.

        Raises:
            NotFound: there is no such file.
            DocumentError: it does not follow the schema.
        """
        try:
            text = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"There is no {path.name} in {path.parent.name}.") from None
        return cls.parse(text, path.name)

    def write(self, path: Path) -> None:
        """Write to a temporary name beside `path`, then rename, so that a reader never sees half a file.

        Raises:
            DiskFull: no space is left.
        """
        write_atomically(path, self.model_dump_json(indent=1).encode())
