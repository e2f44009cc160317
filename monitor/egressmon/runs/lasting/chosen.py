"""The part of a run that records some containers alone, of all that it sees."""

from collections.abc import Iterable, Mapping
from typing import Any

from egressmon.attribution.processes import Processes
from egressmon.containers.admission import Admission, Keys
from egressmon.containers.cgroups import path_of
from egressmon.containers.choice import Choice, Fate
from egressmon.containers.known import Containers
from egressmon.evidence.records.running import ChoiceCounts
from egressmon.runs.recorder import Recorder
from egressmon.sidecar.matching import never_there

_TOO_MUCH = "too much was waiting for what engines say"
_MAX_ANCESTORS = 128


class Chosen:
    """Has what the containers do recorded that are watched, and nothing else."""

    def __init__(
        self, choice: Choice, containers: Containers, recorder: Recorder
    ) -> None:
        """Let `recorder` have what is of the containers that `choice` has watched."""
        self.choice = choice
        self._containers = containers
        self._admission = Admission(choice, recorder.put_admitted, self._settle)
        self._processes: Processes | None = None
        recorder.admits = self._admission.admits

    def begin(
        self, members: Mapping[int, str], processes: Processes, home: int
    ) -> None:
        """Ask about what is there: `members`, by pid, the paths of their cgroups.

        `home` is the machine's own network namespace.
        """
        self._processes = processes
        for pid, path in members.items():
            process = processes.get(pid)
            if process is not None and not process.cgroup:
                process.cgroup = self._containers.cgroup_at(path)
        own = {pid: self._key(pid, path) for pid, path in members.items()}
        found = {pid: self._with_ancestors(pid, own, processes) for pid in own}
        self._admission.begin(found, home)
        self._containers.meet_existing()

    def release(self) -> None:
        """Record what was kept, as more is known of containers."""
        self._admission.release()

    def is_inside(self, pid: int) -> bool:
        """Tell whether the process `pid` is of a container that is, or may be, watched.

        One that has just begun is so by its cgroup alone.
        """
        fate = self._admission.fate_of(pid)
        if fate is not None and fate > Fate.OTHER:
            return True
        path = path_of(pid)
        key = self._key(pid, path) if path is not None else None
        return key is not None and self.choice.fate((key,)) > Fate.OTHER

    def doubts(self) -> Iterable[str]:
        """Return why the run is incomplete: each that no container was."""
        return map(never_there, self.choice.unmatched())

    def status(self) -> dict[str, Any]:
        """Return how many containers are watched, for who asks how it goes."""
        return {
            "containers": self.choice.counts(),
            "unmatched": self.choice.unmatched(),
        }

    def counts(self) -> ChoiceCounts:
        """Return what became of the containers, and how much was not recorded."""
        dropped = self._admission.dropped
        return ChoiceCounts(
            wanted=[str(one) for one in self.choice.wanted],
            unmatched=self.choice.unmatched(),
            containers=self.choice.counts(),
            connections=dict(dropped["connections"]),
            queries=dict(dropped["queries"]),
        )

    def _settle(self, keys: Iterable[str]) -> None:
        self._containers.settle(_TOO_MUCH, keys)

    def _key(self, pid: int, path: str) -> str | None:
        process = self._processes.get(pid) if self._processes is not None else None
        inside = process.inside if process is not None else None
        return self._containers.key_at(path, inside=inside)

    # What it was started by may have been in a container that it has left.
    @staticmethod
    def _with_ancestors(
        pid: int, own: Mapping[int, str | None], processes: Processes
    ) -> Keys:
        keys: set[str] = set()
        seen: set[int] = set()
        while pid not in seen and len(seen) < _MAX_ANCESTORS:
            seen.add(pid)
            if (key := own.get(pid)) is not None:
                keys.add(key)
            process = processes.get(pid)
            if process is None:
                break
            pid = process.parent
        return frozenset(keys)
