"""Open a new evidence file in the default folder, `.egressmon`.

Others who can write to the working directory may have put something else there. So no
link is followed, and no existing file is opened.
"""

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from egressmon.errors import EvidenceError

FOLDER = Path(".egressmon")
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_APPEND | os.O_CLOEXEC
_FOLDER_MODE = 0o755  # less what the umask takes away
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def open_in_folder(name: str, mode: int) -> IO[bytes]:
    """Open the new file `name` in the folder, with the rights of the thread's user.

    A .gitignore makes version control ignore the folder. Raises EvidenceError.
    """
    try:
        with _folder() as folder:
            with suppress(FileExistsError):
                ignore = os.open(".gitignore", _NEW, 0o666, dir_fd=folder)
                with os.fdopen(ignore, "wb") as file:
                    file.write(b"*\n")
            return os.fdopen(os.open(name, _NEW, mode, dir_fd=folder), "wb", 0)
    except OSError as error:
        raise EvidenceError(
            f"evidence cannot be written to {FOLDER}: {error.strerror}",
            "name a writable file with --evidence",
        ) from error


@contextmanager
def _folder() -> Generator[int]:
    with suppress(FileExistsError):
        FOLDER.mkdir(_FOLDER_MODE)
    folder = os.open(FOLDER, _FLAGS)
    try:
        if reason := _reason(os.fstat(folder)):
            raise OSError(0, f"{reason}; name a file with --evidence")
        yield folder
    finally:
        os.close(folder)


# Why the folder is not safe to write to; "" if it is.
def _reason(found: os.stat_result) -> str:
    if found.st_uid not in {0, os.geteuid()}:
        return f"it belongs to uid {found.st_uid}"
    if found.st_mode & _OTHERS_WRITE:
        return "others than its owner can write there"
    return ""
