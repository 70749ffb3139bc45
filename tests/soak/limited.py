"""The worker of one job under a limit on the memory that it may map, and the executor that starts such workers."""

import resource
import sys
from pathlib import Path
from typing import NoReturn

from tl_core import settings
from tl_core.runs.process.local import LocalProcesses

EXECUTOR = f"{__name__}:Limited"


class Limited(LocalProcesses):
    """The local executor, with the worker below."""

    def __init__(self) -> None:
        super().__init__(__name__)


def limit_file(store: Path) -> Path:
    """Holds the limit of workers of `store`, bytes."""
    return store / "limit"


def main() -> NoReturn:
    limit = int(limit_file(settings.store_folder()).read_text())
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    from tl_core.runs import worker

    worker.main(sys.argv[1:])


if __name__ == "__main__":
    main()
