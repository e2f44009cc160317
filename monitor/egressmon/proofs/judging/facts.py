"""What the evidence of a run says, read back: all that the criteria rest on."""

from collections import Counter
from collections.abc import Iterator
from typing import IO, Any, NamedTuple, cast

import orjson
from blake3 import blake3

from egressmon.evidence.gate import MAX_RECORD
from egressmon.proofs.plans.plan import PROBE
from egressmon.reading.values import Values
from egressmon.values import dataclass, field

_MISSED = ("missed_stack", "missed_frames", "missed_code", "missed_mapping")
_MAX_PEERS = 200_000
_MAX_PACKAGES = 20_000


class Peer(NamedTuple):
    """What equal connections have in common."""

    phase: str | None
    op: str
    names: tuple[str, ...]
    ip: str
    port: int | None
    protocol: str
    verdict: str
    by_launcher: bool
    names_are_cut: bool = False
    """Whether it has more names than these."""

    @property
    def leaves(self) -> bool:
        """Whether it goes to somewhere else than this scope."""
        return self.op != "accept" and self.verdict != "local"

    @property
    def is_probe(self) -> bool:
        """Whether egressmon itself made it, as a probe.

        Nothing else in the scope can act as the launcher, which makes no other.
        """
        return self.by_launcher and self.phase == PROBE

    @property
    def label(self) -> str:
        """The destination, for people, by its name where that is known."""
        name = self.names[0] if self.names else ""
        # Others could be cut to the same; what is masked has a mark of its own.
        host = self.ip if not name or "…" in name else name
        shown = f"[{host}]" if ":" in host else host
        port = f":{self.port}" if self.port is not None else ""
        return f"{shown}{port}/{self.protocol}"


@dataclass(slots=True)
class Facts:
    """What one run's evidence says."""

    peers: Counter[Peer] = field(default_factory=Counter[Peer])
    packages: set[str] = field(default_factory=set[str])
    routes: set[str] = field(default_factory=set[str])
    resolvers: set[str] = field(default_factory=set[str])
    bad_queries: int = 0
    """Look-ups in violation, those of probes left out."""
    canaries: list[bool] = field(default_factory=list[bool])
    """Whether each was sent, refused and seen."""
    phases: list[tuple[str, str, str | None]] = field(
        default_factory=list[tuple[str, str, str | None]]
    )
    """The name, event and outcome of each mark."""
    end: dict[str, Any] | None = None
    """The fields of `run.end`; None if it is missing."""
    head: str | None = None
    run: str | None = None
    """What the run is called."""
    records: int = 0
    broken: str | None = None
    """Why the file is no whole evidence; None if it is."""

    @property
    def violations(self) -> int:
        """Connections and look-ups in violation, without those of probes."""
        made = sum(
            count
            for peer, count in self.peers.items()
            if peer.verdict == "violation" and not peer.is_probe
        )
        return made + self.bad_queries

    @property
    def names_dropped(self) -> bool:
        """Whether the run forgot names, so that a peer may have had more of them."""
        losses = _table((self.end or {}).get("losses"))
        return bool(losses.get("names_dropped"))

    @property
    def is_cut(self) -> bool:
        """Whether the evidence had no room for all records."""
        losses = _table((self.end or {}).get("losses"))
        return bool(losses.get("left_out"))

    @property
    def missed_callers(self) -> bool:
        """Whether the run missed who made some calls: modules, packages, routes."""
        losses = _table((self.end or {}).get("losses"))
        return any(losses.get(name) for name in _MISSED)

    def completed(self) -> list[str]:
        """Return the names of the phases that were completed, in their order."""
        return [name for name, _, outcome in self.phases if outcome == "completed"]

    def destinations(self) -> set[str]:
        """Return where anything went to besides the scope itself."""
        return {peer.label for peer in self.peers if peer.leaves and not peer.is_probe}


def read_facts(file: IO[bytes]) -> Facts:
    """Return what the records in `file` say; it may hold anything at all."""
    reader = _Reader()
    for number, line in enumerate(_lines(file), 1):
        try:
            reader.add(line)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            what = error if isinstance(error, ValueError) else repr(error)
            reader.facts.broken = f"line {number}: {what}"
            break
    return reader.facts


# No line of it is longer in memory than a record may be.
def _lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(MAX_RECORD + 2):
        yield line


class _Reader:
    def __init__(self) -> None:
        self.facts = Facts()
        self._values = Values()
        self._launcher: int | None = None

    def add(self, line: bytes) -> None:
        if not line.endswith(b"\n"):
            raise ValueError("it is cut off, or longer than a record may be")
        data = line[:-1]
        record = orjson.loads(data)
        facts = self.facts
        if record["prev"] != facts.head or record["seq"] != facts.records:
            raise ValueError("it does not follow the line before it")
        if facts.end is not None:
            raise ValueError("it comes after the end of the run")
        facts.head = "blake3:" + blake3(data).hexdigest()
        facts.records += 1
        facts.run = facts.run or str(record.get("run"))
        self._read(self._values.resolve(record, data))

    def _read(self, record: dict[str, Any]) -> None:
        match record["type"]:
            case "process":
                if self._launcher is None and record["event"] == "exec":
                    self._launcher = record["pid"]
            case "connection":
                self._connection(record)
            case "dns":
                self._query(record)
            case "canary":
                is_fine = record["reason"] is None or record["errno"] == "EAFNOSUPPORT"
                self.facts.canaries.append(is_fine)
            case "phase":
                mark = record["name"], record["event"], record["outcome"]
                self.facts.phases.append(mark)
            case "run.end":
                self.facts.end = record
            case _:
                pass

    def _connection(self, record: dict[str, Any]) -> None:
        dst = record["dst"]
        peer = Peer(
            phase=record["phase"],
            op=record["op"],
            names=tuple(one["name"] for one in dst["names"]),
            ip=dst["ip"],
            port=dst["port"],
            protocol=record["protocol"],
            verdict=record["verdict"],
            by_launcher=self._is_launcher(record),
            names_are_cut=any(
                str(one).startswith("dst.names") for one in record.get("cut", ())
            ),
        )
        if len(self.facts.peers) >= _MAX_PEERS and peer not in self.facts.peers:
            raise ValueError(f"there are more than {_MAX_PEERS} different peers")
        self.facts.peers[peer] += 1
        if peer.leaves and not peer.is_probe:
            self._code(record)

    def _query(self, record: dict[str, Any]) -> None:
        if record["phase"] == PROBE and self._is_launcher(record):
            return
        self.facts.resolvers.add(str(record["resolver"]))
        if len(self.facts.resolvers) > _MAX_PACKAGES:
            raise ValueError(f"there are more than {_MAX_PACKAGES} resolvers")
        if record["verdict"] == "violation":
            self.facts.bad_queries += int(record["count"])
        self._code(record)

    def _is_launcher(self, record: dict[str, Any]) -> bool:
        process = record["process"]
        return process is not None and process["pid"] == self._launcher

    def _code(self, record: dict[str, Any]) -> None:
        self.facts.routes.add(str(record["route"]))
        module = _table(record["module"])
        for holder in (module.get("caller"), module.get("binding"), record["code"]):
            if found := _table(_table(holder).get("package")):
                label = (
                    f"{found.get('kind')}:{found.get('name')} {found.get('version')}"
                )
                self.facts.packages.add(label)
        if len(self.facts.packages) > _MAX_PACKAGES:
            raise ValueError(f"there are more than {_MAX_PACKAGES} packages")


def _table(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
