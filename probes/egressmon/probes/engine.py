"""Load the probes around a cgroup, and yield the bytes of their events.

An engine is "something that yields event bytes and loss counts"; the agent
knows no more of it than the public methods of `LibbpfEngine`.
"""

import ctypes
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

from egressmon.probes import libbpf
from egressmon.probes.errors import ProbeError
from egressmon.probes.wire import CONSTANTS, HEADER, STRUCTS, digest

OBJECT_NAME = "egressmon.bpf.o"
_HERE = Path(__file__).parent

SCOPE_PROGRAMS = (
    "scope_sock_create",
    "scope_sock_release",
    "scope_post_bind4",
    "scope_post_bind6",
    "scope_connect4",
    "scope_connect6",
    "scope_sendmsg4",
    "scope_sendmsg6",
    "scope_egress",
    "scope_ingress",
)
ROOT_PROGRAMS = (
    "root_connect4",
    "root_connect6",
    "root_sendmsg4",
    "root_sendmsg6",
)
LIFE_PROGRAMS = ("life_fork", "life_exec", "life_exit")

_COUNTERS = {
    name.removeprefix("COUNT_").lower(): slot
    for name, slot in CONSTANTS.items()
    if name.startswith("COUNT_") and name != "COUNT_SLOTS"
}
_BATCH = 4096


@dataclass(frozen=True, slots=True)
class Canary:
    """Where the agent's own attempts go: mapped or native 16-byte addresses."""

    port: int
    inet: bytes
    inet6: bytes


def load_object(folder: Path = _HERE) -> bytes:
    """Return the precompiled probes in folder.

    Raises ProbeError where they are missing, damaged or of another version.
    """
    try:
        image = (folder / OBJECT_NAME).read_bytes()
    except OSError as error:
        raise ProbeError(
            f"the compiled probes are missing ({OBJECT_NAME})",
            "install a built wheel, or run ./scripts/build-probes (needs clang and "
            "libbpf-dev) in the checkout",
        ) from error
    if digest(HEADER).encode() not in image:
        raise ProbeError(
            f"the compiled probes ({OBJECT_NAME}) are of another version, or damaged",
            "install egressmon again, or run ./scripts/build-probes in the checkout",
        )
    return image


class LibbpfEngine:
    """The probes, precompiled and loaded through the system's libbpf."""

    name = "libbpf"

    def __init__(self, folder: Path = _HERE) -> None:
        """Take the precompiled probes from folder; raises ProbeError."""
        try:
            libbpf.library()
        except OSError as error:
            raise ProbeError(
                "libbpf is not installed",
                "Debian 12, Ubuntu 24.04: apt install libbpf1; "
                "Ubuntu 22.04: apt install libbpf0",
            ) from error
        self._log = libbpf.Log()
        self._pending: list[bytes] = []
        self.hooks: list[str] = []
        self.root_hooks = False
        try:
            self._object = libbpf.BpfObject(load_object(folder))
        except libbpf.LibbpfError as error:
            raise ProbeError(
                "the compiled probes cannot be read: the file is damaged",
                "install egressmon again, or run ./scripts/build-probes",
                self.log,
            ) from error

    @property
    def log(self) -> str:
        """What libbpf and the kernel's verifier said so far."""
        return "\n".join(self._log.lines)

    @property
    def version(self) -> str:
        """The engine with its version, for the evidence."""
        return f"libbpf {libbpf.version()}"

    def load(self) -> None:
        """Have the kernel verify the probes; raises ProbeError when it refuses."""
        try:
            self._object.load()
            fd = self._object.map_fd("events")
            self._ring = libbpf.Ring(fd, self._deliver)
        except libbpf.LibbpfError as error:
            raise ProbeError(
                f"the kernel did not take the probes ({error.strerror})",
                "run `egressmon doctor`; `--verbose` shows the kernel's log",
                self.log,
            ) from error

    def attach(self, scope_fd: int, root_fd: int) -> None:
        """Attach everything: scope_fd is the scope's cgroup, root_fd the hierarchy's.

        Where the root cannot be used, `root_hooks` stays False, and sockets that
        were made outside the scope are not seen.
        """
        self._object.update("scope", bytes(4), struct.pack("=i", scope_fd))
        plan: list[tuple[str, int | None]] = [(name, None) for name in LIFE_PROGRAMS]
        plan += [(name, scope_fd) for name in SCOPE_PROGRAMS]
        for name, fd in plan:
            try:
                self._attach(name, fd)
            except libbpf.LibbpfError as error:
                raise ProbeError(
                    f"hook {name} could not be attached ({error.strerror})",
                    "nothing may be left unseen, so nothing was started; "
                    "run `egressmon doctor`",
                    self.log,
                ) from error
        try:
            for name in ROOT_PROGRAMS:
                self._attach(name, root_fd)
        except libbpf.LibbpfError:
            return  # a blind spot, which the agent declares
        self.root_hooks = True

    def _attach(self, name: str, fd: int | None) -> None:
        self._object.attach(name, fd)
        self.hooks.append(name)

    def arm_canary(self, canary: Canary | None) -> None:
        """Refuse exactly canary's addresses at its port from now on; None: nothing."""
        value = STRUCTS["settings"]()
        if canary is not None:
            value.canary_armed = 1
            value.canary_port = canary.port
            ctypes.memmove(value.canary_inet, canary.inet, 16)
            ctypes.memmove(value.canary_inet6, canary.inet6, 16)
        self._object.update("settings", bytes(4), bytes(value))

    def fileno(self) -> int:
        """Return a descriptor that polls readable when events press."""
        return self._ring.fileno()

    def read(self) -> list[bytes]:
        """Return the events that arrived, oldest first, a bounded batch at a time.

        An empty list: there are none now.
        """
        self._pending = []
        self._ring.consume()
        return self._pending

    def is_pressed(self, batch: list[bytes]) -> bool:
        """Tell whether batch, just read, probably left more events behind."""
        return len(batch) >= _BATCH

    def _deliver(self, data: bytes) -> bool:
        self._pending.append(data)
        return len(self._pending) < _BATCH

    def counters(self) -> dict[str, int]:
        """Return the probes' loss counters by name (`lost_*`)."""
        return {
            name: self._object.lookup_per_cpu("counters", slot)[0]
            for name, slot in _COUNTERS.items()
        }

    def sent(self) -> tuple[int, int]:
        """Return how many packets and bytes the scope's sockets sent."""
        packets, size = self._object.lookup_per_cpu("sent", 0, 2)
        return packets, size

    def close(self) -> None:
        """Detach all programs and free their memory."""
        self._ring.close()
        self._object.close()


class Preparation:
    """An engine that is being loaded beside other work (it takes 0.1 s)."""

    def __init__(self) -> None:
        self._engine: LibbpfEngine | None = None
        self._error: ProbeError | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._engine = LibbpfEngine()
            self._engine.load()
        except ProbeError as error:
            self._error = error

    def engine(self) -> LibbpfEngine:
        """Return the loaded engine; raises ProbeError where it cannot be had."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        if self._engine is None:
            raise ProbeError("the probes were not loaded", "run `egressmon doctor`")
        return self._engine
