"""How many connections each container made, for the summary."""

from collections import Counter

from egressmon.evidence.records.lasting import ContainerRecord
from egressmon.evidence.records.traffic import ConnectionRecord
from egressmon.values import dataclass, field

_MAX = 1000


@dataclass(slots=True)
class ContainerTally:
    """Connections by container; of very many containers, some together."""

    connections: Counter[str] = field(default_factory=Counter[str])
    """By the container's key; an empty one: of those beyond the first 1,000."""
    violations: Counter[str] = field(default_factory=Counter[str])
    names: dict[str, str] = field(default_factory=dict[str, str])
    """By key: what its engine calls a container; a doubtful name has a `?`."""

    def meet(self, record: ContainerRecord) -> None:
        """Learn a container's name."""
        is_known = record.key in self.names or len(self.names) < _MAX
        if record.name is not None and is_known:
            doubt = "" if record.confirmed else "?"
            self.names[record.key] = f"{record.name}{doubt}"

    def add(self, record: ConnectionRecord) -> None:
        """Count a connection, if it is a container's."""
        key = record.process.container if record.process is not None else None
        if key is None:
            return
        if key not in self.connections and len(self.connections) >= _MAX:
            key = ""
        self.connections[key] += 1
        if record.verdict == "violation":
            self.violations[key] += 1

    def label(self, key: str) -> str:
        """Return what to call the container with that key."""
        name = self.names.get(key)
        return f"{name} ({key})" if name is not None else key or "others"
