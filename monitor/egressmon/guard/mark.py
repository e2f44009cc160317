"""Tell the kernel's monitor that this process has a guard.

It is told of each executable mapping, by the name of its file. So the mark is one of an
empty file in memory: a process keeps it as it forks, and loses it as it executes
another program, as it does the guard (mmap(2), memfd_create(2)).
"""

from __future__ import annotations  # nothing is imported for them

import os

NAME = "egressmon-guard:1"
"""The file's name; the number is that of what it means."""


def marked() -> object | None:
    """Return the mark, which is there as long as it is kept; None: it cannot be made.

    Then the evidence does not know of the guard, which guards all the same: in a
    sandbox, or where the kernel has no executable memory files
    (`vm.memfd_noexec`, Linux 6.3).
    """
    try:
        import mmap  # noqa: PLC0415 -- some builds of Python have none

        descriptor = os.memfd_create(NAME, os.MFD_CLOEXEC)
    except (ImportError, AttributeError, OSError):
        return None
    try:
        os.ftruncate(descriptor, mmap.PAGESIZE)
        protection = mmap.PROT_READ | mmap.PROT_EXEC
        return mmap.mmap(descriptor, mmap.PAGESIZE, mmap.MAP_PRIVATE, protection)
    except OSError:
        return None
    finally:
        os.close(descriptor)
