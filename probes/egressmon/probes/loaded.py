"""What a loader has loaded, and what an earlier run left of such."""

import os

from egressmon.probes.kernel import bpf
from egressmon.values import dataclass


@dataclass(frozen=True, slots=True)
class Loaded:
    """Loaded programs and maps: their descriptors, by name.

    `name` and `version` are the loader's.
    """

    name: str
    version: str
    programs: dict[str, int]
    maps: dict[str, int]

    def update(self, table: str, key: bytes, value: bytes) -> None:
        """Set the element of the map `table` at `key`. Raises OSError."""
        bpf.update(self.maps[table], key, value)

    def delete(self, table: str, key: bytes) -> None:
        """Remove the element of the map `table` at `key`, if any. Raises OSError."""
        bpf.delete(self.maps[table], key)

    def totals(self, table: str, slots: int, width: int = 1) -> list[list[int]]:
        """Return the first `slots` elements of a per-CPU array, summed over the CPUs.

        Each element has `width` 64-bit numbers. Raises OSError.
        """
        number = self.maps[table]
        return [bpf.lookup_per_cpu(number, slot, width) for slot in range(slots)]

    def skipped(self) -> dict[str, int | None]:
        """Return how often each program was skipped, by name; None: not counted.

        The kernel skips a program if it is running already on the same CPU.
        """
        return {
            name: bpf.skipped_runs(program) for name, program in self.programs.items()
        }

    def close(self) -> None:
        """Close all descriptors."""
        for descriptor in (*self.programs.values(), *self.maps.values()):
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Kept:
    """What an earlier run left: probes that are attached, and events that wait."""

    run: str
    """Its identifier."""
    since_ns: int
    """When this was taken up (CLOCK_BOOTTIME, in nanoseconds)."""
    waiting: int
    """How many events nobody had read."""
    again: int
    """How many were read and perhaps not recorded: they are read again."""
    overwritten: int
    """In how many rings such events are overwritten."""
