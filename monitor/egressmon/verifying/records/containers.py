"""Check what records say of containers: each is told of before it is referred to."""

from typing import Any

from egressmon.values import dataclass, field

Json = dict[str, Any]
_MAX = 65536
_REFERRING = {"container": "outer", "actor": "container", "process": "container"}


@dataclass(slots=True)
class MetContainers:
    """The containers that a run has told of, of which there may be very many."""

    _keys: set[str] = field(default_factory=set[str])
    _is_full: bool = False
    """Whether there are more than are remembered: then no reference is judged."""

    def add(self, record: Json) -> str | None:
        """Note `record`; return why it refers to nothing, or None."""
        name = _REFERRING.get(record["type"])
        if name is None:
            return None
        key: str | None = record.get(name)
        complaint = None
        if key is not None and key not in self._keys and not self._is_full:
            complaint = f"refers to the container {key}, which is not before it"
        if record["type"] == "container":
            self._meet(record)
        return complaint

    def _meet(self, record: Json) -> None:
        if len(self._keys) >= _MAX:
            self._is_full = True
            return
        self._keys.add(record["key"])


def contradiction(record: Json) -> str | None:
    """Return why no container can be as `record` says; None: it can."""
    if (complaint := _of_choice(record)) is not None:
        return complaint
    if not record["confirmed"]:
        return None if record["reason"] else "is not confirmed, and does not say why"
    if record["made_by"] != 0:
        return "is confirmed, and its cgroup was not made by root"
    if record["id"] is None or record["cgroup"] is None:
        return "is confirmed, and has no id or no cgroup"
    return None


# Where nothing is chosen, or in what was written before that could be, it is not said.
def _of_choice(record: Json) -> str | None:
    watched = record.get("watched")
    if watched == "no" and not record["confirmed"] and record["outer"] is None:
        return "is left out, and not confirmed to be another"
    if watched == "doubt" and not record["watched_reason"]:
        return "is watched in doubt, and does not say why"
    return None
