"""How many locks, and other open files, a process may have."""

import resource

from tl_core import locks


def test_a_process_may_have_as_many_open_files_as_the_system_allows() -> None:
    kept = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, kept[1]))
        locks.allow_descriptors()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 512
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, kept)
