"""The probes around a cgroup: attach them, and yield the bytes of their events.

A loader (libbpf or BCC) has the kernel take the programs and maps, and hands over
their descriptors; all that follows is the same for each. An engine is "something
that yields event bytes and loss counts": the agent knows no more of it than the
public methods of `Engine`.
"""

import ctypes
import os
import struct
from dataclasses import dataclass

from egressmon.probes.errors import ProbeError
from egressmon.probes.hooks import (
    CALL,
    COPIED,
    FRAMES,
    FRAMES_ROOT,
    FREED,
    LIFE,
    RING,
    ROOT,
    SCOPE,
    START,
    Hook,
)
from egressmon.probes.kernel import bpf
from egressmon.probes.kernel.ring import Ring, Rings
from egressmon.probes.wire import CONSTANTS, STRUCTS

_COUNTERS = {
    name.removeprefix("COUNT_").lower(): slot
    for name, slot in CONSTANTS.items()
    if name.startswith("COUNT_") and name != "COUNT_SLOTS"
}
# By the names of their maps; a later one's events come behind others of the same time.
_RINGS = {
    "life": CONSTANTS["RING_LIFE_BYTES"],
    "calls": CONSTANTS["RING_CALLS_BYTES"],
    "lookups": CONSTANTS["RING_DNS_BYTES"],
    "events": CONSTANTS["RING_BYTES"],
}
_BATCH = 4096
_BATCH_BYTES = 1 << 19


@dataclass(frozen=True, slots=True)
class Canary:
    """Where the agent's own attempts go: mapped or native 16-byte addresses."""

    port: int
    inet: bytes
    inet6: bytes


@dataclass(frozen=True, slots=True)
class Loaded:
    """Programs and maps that the kernel took: their descriptors, by name."""

    name: str
    version: str
    programs: dict[str, int]
    maps: dict[str, int]

    def update(self, table: str, key: bytes, value: bytes) -> None:
        """Set the element of a map at key. Raises OSError."""
        bpf.update(self.maps[table], key, value)

    def delete(self, table: str, key: bytes) -> None:
        """Remove the element of a map at key, where there is one. Raises OSError."""
        bpf.delete(self.maps[table], key)

    def totals(self, table: str, slots: int, width: int = 1) -> list[list[int]]:
        """Return the first slots of a per-CPU array, each summed over the CPUs.

        A value has width 64-bit numbers. Raises OSError.
        """
        number = self.maps[table]
        return [bpf.lookup_per_cpu(number, slot, width) for slot in range(slots)]

    def skipped(self) -> dict[str, int | None]:
        """Return how often the kernel skipped each program; None: it does not count."""
        return {
            name: bpf.skipped_runs(program) for name, program in self.programs.items()
        }

    def close(self) -> None:
        """Let go of them all."""
        for descriptor in (*self.programs.values(), *self.maps.values()):
            os.close(descriptor)


class FrameProbes:
    """What reads Python frames, for an engine to attach."""

    def __init__(self, loaded: Loaded) -> None:
        """Take over loaded."""
        self.loaded = loaded
        self._count = 0
        self._generation = 0

    def add(self, interpreter: bytes) -> bool:
        """Have the probes know a build of CPython (struct interpreter).

        Returns False where they know as many as they can.
        """
        if self._count >= CONSTANTS["MAX_INTERPRETERS"]:
            return False
        place = struct.pack("=I", self._count)
        self.loaded.update("interpreters", place, interpreter)
        self._count += 1
        self.look_again()
        return True

    def look_again(self) -> None:
        """Have processes without an interpreter be searched at their next call."""
        self._generation += 1
        census = struct.pack("=II", self._count, self._generation)
        self.loaded.update("census", bytes(4), census)

    @property
    def context_programs(self) -> tuple[int, int]:
        """The descriptors of what watch_copies() and watch_ends() attach."""
        programs = self.loaded.programs
        return programs[COPIED.program], programs[FREED.program]

    def watch_copies(self, path: str, offset: int, pid: int = -1) -> int:
        """Note who copies a Context: where the function at offset in a file returns.

        In process pid, or in any. Returns a descriptor that ends it when it is closed.
        Raises OSError.
        """
        return bpf.attach_to_function(
            self.context_programs[0], path, offset, pid, at_return=True
        )

    def watch_ends(self, path: str, offset: int) -> int:
        """Forget Contexts that are freed: by the function at offset in a file.

        Returns a descriptor that ends it when it is closed. Raises OSError.
        """
        return bpf.attach_to_function(
            self.context_programs[1], path, offset, at_return=False
        )

    def forget_code(self, key: bytes) -> None:
        """Have a code object (struct code_key) be told of again."""
        self.loaded.delete("codes", key)


class Engine:
    """Loaded probes, to be attached to one scope. Not thread-safe."""

    def __init__(
        self, loaded: Loaded, reason: str = "", frames: FrameProbes | None = None
    ) -> None:
        """Take over loaded and frames; reason says why it and not the other engine."""
        self.name = loaded.name
        self.version = loaded.version
        self.reason = reason
        self.hooks: list[str] = []
        self.root_hooks = False
        self.watches_calls = False
        """Whether what passes the hooks of sockets by is seen as it is made."""
        self.watches_rings = False
        """Whether it is, too, where it is made through io_uring."""
        self.frames = frames
        self.no_frames = "not asked for"
        """Why Python frames cannot be read, where `frames` is None."""
        self.scope_level = 0
        """How far the scope's cgroup is below the hierarchy's root; 0: not known."""
        self._scope_id = 0
        self.stack_bytes = 0
        """How much of a caller's stack to copy; arm_canary() tells the probes."""
        self._loaded = loaded
        self._links: list[int] = []
        self._rings = Rings([Ring(loaded.maps[name], _RINGS[name]) for name in _RINGS])

    def attach(self, scope_fd: int) -> None:
        """Attach what belongs to the scope, whose cgroup is scope_fd.

        Raises ProbeError.
        """
        self._loaded.update("scope", bytes(4), struct.pack("=i", scope_fd))
        if self.scope_level:
            # A cgroup's number is that of its folder (kernfs, on 64-bit machines).
            self._scope_id = os.fstat(scope_fd).st_ino
        for hook in (*self._only_with_frames(FRAMES), *LIFE, *SCOPE):
            try:
                self._attach(hook, scope_fd)
            except OSError as error:
                raise ProbeError(
                    f"hook {hook.program} could not be attached ({error.strerror})",
                    "nothing may be left unseen, so nothing was started; "
                    "run `egressmon doctor`",
                ) from error

    def attach_root(self, root_fd: int) -> None:
        """Attach what observes from the hierarchy's root, the cgroup root_fd.

        Where that may not be, `root_hooks` stays False, and sockets that were made
        outside the scope are not seen.
        """
        self.watches_calls = self._attach_if_there(CALL)
        self.watches_rings = self._attach_if_there(RING)
        try:
            for hook in (*self._only_with_frames(FRAMES_ROOT), *ROOT):
                self._attach(hook, root_fd)
        except OSError:
            return  # a blind spot, which the agent declares
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
        program = self._program(hook)
        if hook.tracepoint is not None:
            link = bpf.attach_to_tracepoint(program, hook.tracepoint)
        elif hook.attach_type is not None:
            link = bpf.attach_to_cgroup(program, cgroup, hook.attach_type)
        else:
            raise ValueError(hook)
        self._links.append(link)
        self.hooks.append(hook.program)

    def _program(self, hook: Hook) -> int:
        if self.frames is not None and hook.program in self.frames.loaded.programs:
            return self.frames.loaded.programs[hook.program]
        return self._loaded.programs[hook.program]

    def arm_canary(self, canary: Canary | None) -> None:
        """Refuse exactly canary's addresses at its port from now on; None: nothing."""
        value = STRUCTS["settings"](
            stack_bytes=self.stack_bytes,
            scope_level=self.scope_level,
            scope_id=self._scope_id,
        )
        if canary is not None:
            value.canary_armed = 1
            value.canary_port = canary.port
            ctypes.memmove(value.canary_inet, canary.inet, 16)
            ctypes.memmove(value.canary_inet6, canary.inet6, 16)
        self._loaded.update("settings", bytes(4), bytes(value))

    def adopt(self, socket_fd: int) -> None:
        """Have the root's probes watch a socket that the command will inherit.

        Raises OSError where `socket_fd` is no socket.
        """
        sockets = self._loaded.maps["sockets"]
        _, value = bpf.element_sizes(sockets)
        bpf.update(sockets, struct.pack("=i", socket_fd), bytes(value))

    def remember(self, key: bytes, template: bytes) -> None:
        """Have the probes recognise a call site (template_key, template)."""
        self._loaded.update("templates", key, template)

    def forget(self, key: bytes) -> None:
        """Have the probes copy the stack at that call site again."""
        self._loaded.delete("templates", key)

    def fileno(self) -> int:
        """Return a descriptor that polls readable when events press."""
        return self._rings.fileno()

    def read(self) -> list[bytes]:
        """Return the events that arrived, oldest first, a bounded batch at a time.

        An empty list: there are none now.
        """
        return self._rings.read(_BATCH, _BATCH_BYTES)

    @property
    def is_pressed(self) -> bool:
        """Whether the last read probably left more events behind."""
        return self._rings.is_cut

    @property
    def is_filling(self) -> bool:
        """Whether a ring holds more than a little."""
        return self._rings.is_filling

    def counters(self) -> dict[str, int]:
        """Return the probes' loss counters by name (`lost_*`)."""
        totals = self._loaded.totals("counters", CONSTANTS["COUNT_SLOTS"])
        counters = {name: totals[slot][0] for name, slot in _COUNTERS.items()}
        # What all that stand in for each other were skipped for is at most what the
        # luckiest was.
        counters["lost_skipped"] = sum(
            min(one or 0 for one in skipped) for skipped in self._skipped()
        )
        if self.frames is not None:
            starts = self.frames.loaded.skipped()[START.program]
            counters["missed_frames"] += starts or 0
        return counters

    @property
    def counts_skipped(self) -> bool:
        """Whether the kernel tells how often it skipped a probe."""
        return all(None not in skipped for skipped in self._skipped())

    # By what they tell of; cgroup programs are never skipped.
    def _skipped(self) -> list[list[int | None]]:
        found: dict[str, list[int | None]] = {}
        skipped = self._loaded.skipped()
        for hook in LIFE:
            told = hook.program.removesuffix("_second")
            found.setdefault(told, []).append(skipped[hook.program])
        return list(found.values())

    def sent(self) -> tuple[int, int]:
        """Return how many packets and bytes the scope's sockets sent."""
        packets, size = self._loaded.totals("sent", 1, 2)[0]
        return packets, size

    @property
    def parts(self) -> list[Loaded]:
        """What the kernel took: the probes, and what reads Python frames."""
        return [self._loaded] + ([self.frames.loaded] if self.frames else [])

    def hand_over(self, parts: list[Loaded]) -> None:
        """Have `parts` stand for what the kernel took, which may not be asked here.

        Events are read as before. What holds the programs in place is let go of:
        another process has it.
        """
        kept = self._rings.descriptors
        held = [*self._links]
        for part in self.parts:
            held += [*part.programs.values(), *part.maps.values()]
        self._links.clear()
        for descriptor in set(held) - kept:
            os.close(descriptor)
        self._loaded = parts[0]
        if self.frames is not None:
            self.frames.loaded = parts[1]

    def close(self) -> None:
        """Detach all programs and free their memory."""
        while self._links:
            os.close(self._links.pop())
        self._rings.close()
        if self.frames is not None:
            self.frames.loaded.close()
        self._loaded.close()
