"""Attach the probes to a cgroup, and read their events as bytes.

A loader (libbpf or BCC) loads programs and maps into the kernel and passes their
descriptors on; from there on, both engines are this code. The agent uses the public
methods of `Engine` and `FrameProbes` alone.
"""

import ctypes
import os
import struct
from collections.abc import Callable, Iterable

from egressmon.probes import losses
from egressmon.probes.errors import ProbeError
from egressmon.probes.frames import FrameProbes
from egressmon.probes.hooks import (
    CALL,
    FOUND,
    FOUND_CGROUPS,
    FRAMES,
    FRAMES_ROOT,
    LEVEL,
    LIFE,
    NAMED,
    RING,
    SCOPE,
    WHOLE,
    Hook,
)
from egressmon.probes.kernel import bpf
from egressmon.probes.kernel.ring import Pressure, Ring, Rings
from egressmon.probes.links import Links
from egressmon.probes.loaded import Kept, Loaded
from egressmon.probes.wire import CONSTANTS, STRUCTS
from egressmon.values import dataclass

# By map name. Of events of the same time, those of an earlier ring are read first.
_RINGS = {
    "life": CONSTANTS["RING_LIFE_BYTES"],
    "calls": CONSTANTS["RING_CALLS_BYTES"],
    "lookups": CONSTANTS["RING_DNS_BYTES"],
    "events": CONSTANTS["RING_BYTES"],
}
NOT_ASKED_FOR = "not asked for"
"""Why there are no frames where they need not be loaded."""
# struct member (maps.bpf.h): no time of its start is known, and no exec was told of.
_MEMBER = struct.Struct("=QQ")
_BATCH = 4096
_BATCH_BYTES = 1 << 19


@dataclass(frozen=True, slots=True)
class Canary:
    """The port and addresses of the canaries, which the probes refuse.

    `inet` and `inet6` are 16 bytes in network order; IPv4 is mapped (::ffff:a.b.c.d).
    """

    port: int
    inet: bytes
    inet6: bytes


class Engine:
    """Loaded probes, which are attached to one scope. Not thread-safe."""

    def __init__(
        self, loaded: Loaded, reason: str = "", frames: FrameProbes | None = None
    ) -> None:
        """Take ownership of `loaded` and `frames`.

        `reason` says why this engine was chosen, and not the other.
        """
        self.name = loaded.name
        self.version = loaded.version
        self.reason = reason
        self.root_hooks = False
        self.watches_calls = False
        """Whether system calls that evade the socket hooks are observed."""
        self.watches_rings = False
        """Whether they are observed through io_uring, too."""
        self.watches_cgroups = False
        """Whether it is observed which cgroups come and go."""
        self.frames = frames
        self.no_frames = NOT_ASKED_FOR
        """Why Python frames are not read, if `frames` is None."""
        self.types_key: str | None = None
        """The key of what makes the next run load faster; None: it is there."""
        self.has_differed = False
        """Whether what was kept under that key makes other probes."""
        self.scope_level = 0
        """How many levels the scope's cgroup is below the hierarchy's root."""
        self.scope_id = 0
        """The id of the scope's cgroup: its folder's inode number (kernfs)."""
        self.own_level = self.own_id = 0
        """As these, of the cgroup below the scope from which canaries are sent; zeros:
        they are sent from the scope's own."""
        self.is_part = False
        """Whether only a part of the scope is recorded: its processes reach others."""
        self.hierarchy_is_whole = False
        """Whether the root cgroup is the machine's, and not that of a namespace."""
        self.stack_bytes = 0
        """How many bytes of a caller's stack to copy; takes effect in arm_canary()."""
        self.kept: Kept | None = None
        """What was taken up of an earlier run; None: nothing, all was loaded."""
        self._loaded = loaded
        self._links = Links()
        self._rings = Rings([Ring(loaded.maps[name], _RINGS[name]) for name in _RINGS])

    def attach(self, scope_fd: int) -> None:
        """Attach the probes of the scope, whose cgroup is open as `scope_fd`.

        Call it after `attach_root`: what the probes there see of the scope, they see
        alone. Raises ProbeError.
        """
        self._attach_scope(scope_fd, SCOPE)

    def attach_found(self, scope_fd: int, own_fd: int) -> None:
        """Attach the probes of a scope that was there before; they refuse nothing.

        But for canaries: those are sent from the cgroup that is open as `own_fd`, below
        the scope. Call it after `attach_root`. Raises ProbeError.
        """
        self.watches_cgroups = all(map(self._attach_if_there, FOUND_CGROUPS))
        self._attach_scope(scope_fd, FOUND)
        self._attach_each(SCOPE, own_fd)
        self._links.drop_kept()

    def take_up(self, kept: Kept, links: dict[str, int]) -> None:
        """Attach by `links`, which are there already, by name; take ownership of them.

        For the first attach_root() and attach_found() that follow.
        """
        self.kept = kept
        self._links.take_up(links)

    @property
    def links(self) -> dict[str, int]:
        """The links of what is attached, by their program's name."""
        return self._links.by_name()

    @property
    def hooks(self) -> list[str]:
        """The names of the programs that are attached, in the order of `links`."""
        return self._links.hooks

    def _attach_scope(self, scope_fd: int, named: tuple[Hook, ...]) -> None:
        self._loaded.update("scope", bytes(4), struct.pack("=i", scope_fd))
        scope = named if self.root_hooks else (*named, *WHOLE)
        self._attach_each((*self._only_with_frames(FRAMES), *LIFE, *scope), scope_fd)

    def _attach_each(self, hooks: tuple[Hook, ...], cgroup: int) -> None:
        for hook in hooks:
            try:
                self._attach(hook, cgroup)
            except OSError as error:
                raise ProbeError(
                    f"hook {hook.program} could not be attached ({error.strerror})",
                    "nothing may be left unseen, so nothing was started; "
                    "run `egressmon doctor`",
                ) from error

    def attach_root(self, root_fd: int, *, is_scope: bool = False) -> None:
        """Attach the observing probes to the root cgroup, open as `root_fd`.

        If that fails, `root_hooks` stays False: sockets that were made outside the
        scope are not seen. With `is_scope`, there are none: it is the whole machine.
        """
        self.watches_calls = self._attach_if_there(CALL)
        self.watches_rings = self._attach_if_there(RING)
        before = len(self._links)
        outside = () if is_scope else (*self._only_with_frames(FRAMES_ROOT), *NAMED)
        try:
            for hook in (*outside, *WHOLE):
                self._attach(hook, root_fd)
        except OSError:
            # A blind spot, which the agent declares; attach() takes what it can.
            self._links.cut_back(before)
            return
        self.root_hooks = True

    def _attach_if_there(self, hook: Hook) -> bool:
        try:
            self._attach(hook, -1)
        except OSError:
            return False
        return True

    def _only_with_frames(self, hooks: tuple[Hook, ...]) -> tuple[Hook, ...]:
        return hooks if self.frames is not None else ()

    def _attach(self, hook: Hook, cgroup: int) -> None:
        self._links.attach(hook, self._program(hook), cgroup)

    def _program(self, hook: Hook) -> int:
        if self.frames is not None and hook.program in self.frames.loaded.programs:
            return self.frames.loaded.programs[hook.program]
        return self._loaded.programs[hook.program]

    def find_level(self, scope_fd: int, make_socket: Callable[[], None]) -> int:
        """Return how many levels the scope is below the hierarchy's root; 0: unknown.

        `make_socket` must have a process of the scope make a socket: there, the kernel
        says which cgroups are above it. Raises OSError.
        """
        self.arm_canary(None)
        attach_type = LEVEL.attach_type or 0
        link = bpf.attach_to_cgroup(self._program(LEVEL), scope_fd, attach_type)
        try:
            make_socket()
        finally:
            os.close(link)
        layout = STRUCTS["settings"]
        value = bpf.lookup(
            self._loaded.maps["settings"], bytes(4), ctypes.sizeof(layout)
        )
        return int(layout.from_buffer_copy(value).scope_level)

    def arm_canary(self, canary: Canary | None) -> None:
        """Have the probes refuse connections to `canary`, or to nothing (None)."""
        value = STRUCTS["settings"](
            stack_bytes=self.stack_bytes,
            scope_level=self.scope_level,
            scope_id=self.scope_id,
            own_level=self.own_level,
            own_id=self.own_id,
            is_part=self.is_part,
            sees_arrivals=self.hierarchy_is_whole and self.root_hooks,
        )
        if canary is not None:
            value.canary_armed = 1
            value.canary_port = canary.port
            ctypes.memmove(value.canary_inet, canary.inet, 16)
            ctypes.memmove(value.canary_inet6, canary.inet6, 16)
        self._loaded.update("settings", bytes(4), bytes(value))

    def adopt(self, socket_fd: int) -> None:
        """Have the probes at the root cgroup watch a socket that the command inherits.

        Raises OSError if `socket_fd` is not a socket.
        """
        sockets = self._loaded.maps["sockets"]
        _, value = bpf.element_sizes(sockets)
        bpf.update(sockets, struct.pack("=i", socket_fd), bytes(value))

    def admit(self, pids: Iterable[int]) -> None:
        """Count processes that were there before to the scope. Raises OSError."""
        member = _MEMBER.pack(0, 2**64 - 1)
        for pid in pids:
            self._loaded.update("lineage", struct.pack("=I", pid), member)

    def dismiss(self, pids: Iterable[int]) -> None:
        """Count no process of these numbers to the scope. Raises OSError."""
        for pid in pids:
            self._loaded.delete("lineage", struct.pack("=I", pid))

    def remember(self, key: bytes, template: bytes) -> None:
        """Have the probes recognise a call site: `template_key`, `call_site`."""
        self._loaded.update("templates", key, template)

    def forget(self, key: bytes) -> None:
        """Have the probes copy the stack at the call site `key` again."""
        self._loaded.delete("templates", key)

    def fileno(self) -> int:
        """Return a descriptor that is readable while there are events.

        A wait for it only ends when a ring fills up: wake_flags() in maps.bpf.h.
        """
        return self._rings.fileno()

    def pressure(self) -> Pressure:
        """Return what tells when a ring fills up, but for that of processes.

        Each exec wakes whoever waits for that one.
        """
        return self._rings.pressure(list(_RINGS).index("life"))

    def read(self) -> list[bytes]:
        """Return the next batch of events, oldest first; [] if there are none now."""
        return self._rings.read(_BATCH, _BATCH_BYTES)

    @property
    def taken(self) -> tuple[int, ...]:
        """Up to where all events were returned by read(), for mark()."""
        return self._rings.taken

    def look_back(self) -> tuple[int, list[int | None]]:
        """Return how many events wait, and go back to where mark() was called.

        With it comes for each ring how many are read again; None: they are overwritten.
        """
        return self._rings.waiting(), self._rings.go_back()

    def mark(self, taken: tuple[int, ...]) -> None:
        """Note that what `taken` was after a read() is done with: none is read again.

        Whoever takes up the rings after us begins there.
        """
        self._rings.mark(taken)

    @property
    def is_pressed(self) -> bool:
        """Whether the last read() stopped at its limit, with more events to come."""
        return self._rings.is_cut

    @property
    def is_filling(self) -> bool:
        """Whether a ring is more than a sixteenth full."""
        return self._rings.is_filling

    def counters(self) -> dict[str, int]:
        """Return the probes' counters of losses by name (`lost_*`, `missed_*`)."""
        return losses.counters(
            self._loaded, self.frames, watches_cgroups=self.watches_cgroups
        )

    @property
    def counts_skipped(self) -> bool:
        """Whether the kernel counts how often it skipped a probe (since 5.12)."""
        return losses.counts_skipped(self._loaded)

    def attached(self) -> tuple[int, int]:
        """Return how many probes still are attached, and how many should be.

        Raises OSError. Asked of the process that attached them.
        """
        return self._links.attached()

    def sent(self) -> tuple[int, int]:
        """Return how many packets and bytes the scope's sockets sent."""
        packets, size = self._loaded.totals("sent", 1, 2)[0]
        return packets, size

    @property
    def parts(self) -> list[Loaded]:
        """All loaded programs and maps: the probes', and those of Python frames."""
        return [self._loaded] + ([self.frames.loaded] if self.frames else [])

    def hand_over(self, parts: list[Loaded]) -> None:
        """Use `parts`, proxies for another process, instead of the maps themselves.

        For a process that may not call bpf(2): the other one has the same descriptors,
        and keeps the programs attached. Here all are closed but those of the rings, as
        events are still read directly.
        """
        kept = self._rings.descriptors
        held = self._links.let_go()
        for part in self.parts:
            held += [*part.programs.values(), *part.maps.values()]
        for descriptor in set(held) - kept:
            os.close(descriptor)
        self._loaded = parts[0]
        if self.frames is not None:
            self.frames.loaded = parts[1]

    def close(self) -> None:
        """Detach all programs that nobody else keeps, and close everything."""
        self._links.close()
        self._rings.close()
        if self.frames is not None:
            self.frames.loaded.close()
        self._loaded.close()
