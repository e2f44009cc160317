"""Which file an exec ran, by which path, and why that path may be made up."""

import os

from egressmon import files
from egressmon.events.model import PRELOAD_NONE, PRELOAD_SET, Executed
from egressmon.files.beginning import Beginning
from egressmon.text import from_bytes

_DELETED = b" (deleted)"
_UNSEEN = "the process was gone before its file could be looked at"
PRELOADED = "LD_PRELOAD or LD_AUDIT was set as the program was executed"
_UNREAD = "its environment could not be searched for LD_PRELOAD"


class Executables:
    """Finds the executable files of processes."""

    def __init__(self, beginning: Beginning, *, proc_is_ours: bool) -> None:
        """`beginning` is the moment before the run.

        `proc_is_ours` says that /proc has the same pids as the kernel's events.
        """
        self._beginning = beginning
        self._proc_is_ours = proc_is_ours
        self._batch = 0
        self._seen: dict[tuple[str, int, int], tuple[str, str | None] | None] = {}
        """What was found at paths, of which file, since the batch began."""

    def of(self, event: Executed, mapped: str | None = None) -> tuple[str, str | None]:
        """Return the executable's path, and why it is only a claim (None: it is none).

        `mapped` is the path that the kernel mapped it from, if that is known.
        """
        view = self._beginning.why_view(event.mounts, event.users)
        names = [event.path, mapped or ""]
        places = [name for name in names if name.startswith("/")]
        if self._proc_is_ours:
            # The link leads to the very file, whatever is mounted over its name.
            places.insert(0, f"/proc/{event.pid}/exe")
        for place in places:
            found = self._look_once(place, event)
            if found is not None:
                path, why = found
                return path, view or why
        return event.path, view or _UNSEEN

    # In one batch, programs repeat. What is behind /proc/PID differs by process.
    def _look_once(self, place: str, event: Executed) -> tuple[str, str | None] | None:
        if place.startswith("/proc/"):
            return self._look(place, event)
        if self._batch != files.batch():
            self._batch = files.batch()
            self._seen.clear()
        key = place, event.inode, event.device
        if key not in self._seen:
            self._seen[key] = self._look(place, event)
        return self._seen[key]

    # The process may run another program by now, or be gone: its number is another's.
    def _look(self, place: str, event: Executed) -> tuple[str, str | None] | None:
        try:
            descriptor = files.open_place(place)
        except OSError:
            return None
        try:
            if not self._is_of(descriptor, event):
                return None
            link = f"/proc/self/fd/{descriptor}"
            name = os.fsencode(os.readlink(link))  # noqa: PTH115 -- hot path
            path = from_bytes(name.removesuffix(_DELETED))
            return path, self._why(descriptor, name)
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def _is_of(self, descriptor: int, event: Executed) -> bool:
        status = os.fstat(descriptor)
        if status.st_ino != event.inode:
            return False
        return status.st_dev == event.device or self._beginning.has_two_devices(
            descriptor
        )

    def _why(self, descriptor: int, name: bytes) -> str | None:
        if not name.startswith(b"/") or name.endswith(_DELETED):
            return "no file has that name any more"
        return self._beginning.why_claimed(descriptor)


def why_preloaded(event: Executed) -> str | None:
    """Return why code other than its program's may be preloaded into the process.

    None if there is no sign of that.
    """
    if event.preload == PRELOAD_NONE:
        return None
    return PRELOADED if event.preload == PRELOAD_SET else _UNREAD
