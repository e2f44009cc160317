"""Files in memory, for readers that take descriptors."""

import os

from egressmon.files.elf import Elf


def elf_of(data: bytes) -> Elf:
    """Return data as an ELF file; raises what Elf does."""
    descriptor = os.memfd_create("test", os.MFD_CLOEXEC)
    os.write(descriptor, data)
    return Elf(descriptor)
