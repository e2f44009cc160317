"""Which file an exec ran, by which path, and why that path may be made up."""

import os
from typing import NamedTuple

from egressmon import files
from egressmon.attribution.helpers import helper_of
from egressmon.events.model import PRELOAD_NONE, PRELOAD_SET, Executed
from egressmon.files.beginning import OTHER_ROOT, Beginning
from egressmon.text import from_bytes

_DELETED = b" (deleted)"
_UNSEEN = "the process was gone before its file could be looked at"
PRELOADED = "LD_PRELOAD or LD_AUDIT was set as the program was executed"
_MAX_KNOWN = 4096
_UNREAD = "its environment could not be searched for LD_PRELOAD"


class _Again(NamedTuple):
    path: str
    why: str | None
    status: os.stat_result


class Executables:
    """Finds the executable files of processes."""

    def __init__(self, beginning: Beginning, *, proc_is_ours: bool) -> None:
        """`beginning` is the moment before the run.

        `proc_is_ours` says that /proc has the same pids as the kernel's events.
        """
        self._beginning = beginning
        self._proc_is_ours = proc_is_ours
        self.looked_up = 0
        """How many programs were not known from an earlier exec."""
        self._roots: dict[int, int] = {}
        """By mount namespace, the number of the root folder first seen there: the
        command's own began in it."""
        self._batch = 0
        self._seen: dict[tuple[str, int, int], tuple[str, str | None] | None] = {}
        """What was found at paths, of which file, since the batch began."""
        self._paths: dict[tuple[int, int, int], str] = {}
        """By place, inode and device: where a file was that no claim was made of."""
        self._again: dict[tuple[int, int, int], _Again | None] = {}
        """Which of these were there, since the batch began."""

    def of(self, event: Executed, mapped: str | None = None) -> tuple[str, str | None]:
        """Return the executable's path, and why it is only a claim (None: it is none).

        `mapped` is the path that the kernel mapped it from, if that is known.
        """
        view = self._why_view(event)
        again = self._found_again(event) if view is None else None
        # Folders may have been moved since: this is its path now, and was it then.
        if again is not None and again.path in {event.path, mapped}:
            return again.path, again.why
        self.looked_up += 1
        names = [event.path, mapped or ""]
        places = [name for name in names if name.startswith("/")]
        if self._proc_is_ours:
            # The link leads to the very file, whatever is mounted over its name.
            places.insert(0, f"/proc/{event.pid}/exe")
        for place in places:
            found = self._look_once(place, event)
            if found is not None:
                path, why = found
                if view is None and why is None and place.startswith("/proc/"):
                    self._remember(event, path)
                return path, view or why
        return event.path, view or _UNSEEN

    def _why_view(self, event: Executed) -> str | None:
        view = self._beginning.why_view(event.mounts, event.users)
        if view is not None:
            return view
        # The first is the command's own, which nobody has changed yet.
        root = self._roots.setdefault(event.mounts, event.root)
        return OTHER_ROOT if event.root != root else None

    def why_seen(self, mounts: int, users: int) -> str | None:
        """Return why a path that is seen from these namespaces may be made up."""
        return self._beginning.why_view(mounts, users)

    def helper(self, event: Executed) -> str | None:
        """Return which helper of container engines it is; None: it is none."""
        return helper_of(event.path, lambda found: self._is_of(found, event))

    def known_status(self, event: Executed) -> os.stat_result | None:
        """Return what stat(2) says of a file that ran before; None: unknown."""
        again = self._found_again(event)
        return again.status if again is not None else None

    def _remember(self, event: Executed, path: str) -> None:
        if not event.place:
            return
        if len(self._paths) >= _MAX_KNOWN:
            self._paths.clear()
        self._paths[event.place, event.inode, event.device] = path

    # The same file, by the same name and mount, ran before. To look there costs a tenth
    # of asking for /proc/PID/exe.
    def _found_again(self, event: Executed) -> "_Again | None":
        key = event.place, event.inode, event.device
        path = self._paths.get(key)
        if path is None:
            return None
        self._begin_batch()
        if key not in self._again:
            self._again[key] = self._look_again(path, event)
        return self._again[key]

    def _look_again(self, path: str, event: Executed) -> "_Again | None":
        try:
            descriptor = files.open_remembered(path)
        except OSError:
            return None
        try:
            link = f"/proc/self/fd/{descriptor}"
            name = os.readlink(link)  # noqa: PTH115 -- hot path
            if name != os.fsdecode(os.fsencode(path)) or not self._is_of(
                descriptor, event
            ):
                return None
            why = self._beginning.why_claimed(descriptor)
            return _Again(path, why, os.fstat(descriptor))
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def _begin_batch(self) -> None:
        if self._batch != files.batch():
            self._batch = files.batch()
            self._seen.clear()
            self._again.clear()

    # In one batch, programs repeat. What is behind /proc/PID differs by process.
    def _look_once(self, place: str, event: Executed) -> tuple[str, str | None] | None:
        if place.startswith("/proc/"):
            return self._look(place, event)
        self._begin_batch()
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
