"""Count what was recorded, for the record `run.end` and for reports."""

import re
from collections import Counter
from typing import NamedTuple

from egressmon.evidence.container_tally import ContainerTally
from egressmon.evidence.records import Record
from egressmon.evidence.records.actors import Actor, ProcessRecord, Step
from egressmon.evidence.records.code import CodeRecord, ModuleFile
from egressmon.evidence.records.guard import CHILDREN
from egressmon.evidence.records.lasting import ContainerRecord
from egressmon.evidence.records.traffic import ConnectionRecord, DnsRecord, EscapeRecord
from egressmon.values import dataclass, field

_MAX_GROUPS = 10_000
_MAX_ESCAPES = 20
_MAX_STEPS = 1000
UNKNOWN_ORIGIN = "unknown"
"""Counts what has no known origin."""


class Group(NamedTuple):
    """What violations have in common that are counted together."""

    destination: str
    """The peer with its port and protocol, or the look-up, for people."""
    program: str
    via: str
    """The module or package in the program; "" if it says nothing more."""
    code: str
    """The test or the function; "" if neither is known."""
    why: str
    host: str
    """The name or address that it is about."""
    is_look_up: bool


# Parts of a reason that repeat the destination.
_REPEATED = re.compile(r"(no allow entry covers) .*?(?=;|$)")
_RESOLVER = re.compile(r"^\S+ is (not a trusted resolver)")


@dataclass(slots=True)
class Tally:
    """Counts of a run so far. Violations are grouped by what they have in common."""

    connections: Counter[str] = field(default_factory=Counter[str])
    """By verdict, those in the evidence; so do `queries` and `processes`."""
    queries: Counter[str] = field(default_factory=Counter[str])
    processes: int = 0
    seen_connections: Counter[str] = field(default_factory=Counter[str])
    """By verdict, all: in the evidence or left out of it. So do the next two."""
    seen_queries: Counter[str] = field(default_factory=Counter[str])
    seen_processes: int = 0
    violations: Counter[Group] = field(default_factory=Counter[Group])
    places: dict[Group, CodeRecord] = field(default_factory=dict[Group, CodeRecord])
    """The code behind the first violation of a group that had any."""
    bypasses: int = 0
    """Connections that bypassed the sockets of their own language."""
    other_bypasses: Counter[str] = field(default_factory=Counter[str])
    """Those of them that are no violation, by module: no group tells of them."""
    origins: Counter[str] = field(default_factory=Counter[str])
    """Connections by what they belong to."""
    steps: Counter[str] = field(default_factory=Counter[str])
    """Connections by the step of a CI job that they are said to be of."""
    guard: Counter[str] = field(default_factory=Counter[str])
    """Connections by what a guard inside their process had to do with them."""
    around_guard: Counter[str] = field(default_factory=Counter[str])
    """Those that went around it, by what made them."""
    unattributed: int = 0
    """Connections whose process is unknown."""
    unknown_modules: int = 0
    """Connections whose calling module is not known."""
    unknown_code: int = 0
    """Connections of Python processes whose code is not known."""
    escapes: Counter[str] = field(default_factory=Counter[str])
    """Escapes that make the evidence incomplete, by reason."""
    ungrouped: int = 0
    """Violations that are in no group, because there are too many groups."""
    containers: ContainerTally = field(default_factory=ContainerTally)
    _alive: set[int] = field(default_factory=set[int])
    _seen_alive: set[int] = field(default_factory=set[int])

    def add(
        self, record: Record, *, written: bool = True, group: Group | None = None
    ) -> None:
        """Count `record`; if it was not `written` to the evidence, only as seen.

        `group` is what `group_of` says of it, if somebody asked already.
        """
        match record:
            case ConnectionRecord() if record.relayed is not None:
                pass  # counted as it was begun
            case ConnectionRecord():
                self._verdict(record, self.seen_connections, group)
                self.containers.add(record)
                if written:
                    self.connections[record.verdict] += 1
                    self._attribution(record)
            case DnsRecord():
                self._verdict(record, self.seen_queries, group)
                if written:
                    self.queries[record.verdict] += record.count
            case ContainerRecord():
                self.containers.meet(record)
            case EscapeRecord(doubt=True):
                self._escape(record.reason)
            case ProcessRecord():
                self.seen_processes += _begins(record, self._seen_alive)
                if written:
                    self.processes += _begins(record, self._alive)
            case _:
                pass

    def _verdict(
        self,
        record: ConnectionRecord | DnsRecord,
        counts: Counter[str],
        group: Group | None,
    ) -> None:
        times = record.count if isinstance(record, DnsRecord) else 1
        if record.verdict == "violation":
            self._group(group or _key(record), record.code, times)
        counts[record.verdict] += times

    def _attribution(self, record: ConnectionRecord) -> None:
        self.origins[record.origin or UNKNOWN_ORIGIN] += 1
        self._step(record.process)
        if record.module is None:
            self.unknown_modules += 1
        if record.process is None:
            self.unattributed += 1
        if record.code_status == "unknown":
            self.unknown_code += 1
        if record.bypass:
            self.bypasses += 1
            if record.verdict != "violation":
                _count(self.other_bypasses, module_label(record))
        if record.guard is not None:
            self.guard[record.guard] += 1
        if record.guard == "bypassed":
            _count(self.around_guard, _around_label(record))

    def _step(self, process: Actor | None) -> None:
        if process is None or process.step is None:
            return
        label = step_label(process.step)
        if label not in self.steps and len(self.steps) >= _MAX_STEPS:
            label = "others"
        self.steps[label] += 1

    def _escape(self, reason: str) -> None:
        if len(self.escapes) >= _MAX_ESCAPES and reason not in self.escapes:
            reason = "others: the evidence has them"
        self.escapes[reason] += 1

    def _group(self, key: Group, code: CodeRecord | None, count: int) -> None:
        if key not in self.violations and len(self.violations) >= _MAX_GROUPS:
            self.ungrouped += count
            return
        self.violations[key] += count
        if code is not None:
            self.places.setdefault(key, code)

    @property
    def has_violations(self) -> bool:
        """Whether anything violated the policy."""
        return bool(self.violations)


def _count(counts: Counter[str], label: str) -> None:
    if len(counts) >= _MAX_GROUPS and label not in counts:
        label = "others"
    counts[label] += 1


# A process begins with its fork; the command's first one begins with its exec.
def _begins(record: ProcessRecord, alive: set[int]) -> bool:
    if record.event == "exit":
        alive.discard(record.pid)
    elif record.event == "fork" or record.pid not in alive:
        alive.add(record.pid)
        return True
    return False


def module_label(record: ConnectionRecord | DnsRecord) -> str:
    """Return what made a connection, for people: its module, or else its route.

    The module's package is named; if there is none, the binding that called it is.
    """
    module = record.module
    if module is None:
        return record.route
    claims = record.claimed if isinstance(record, ConnectionRecord) else []
    claimed = {one.field for one in claims}
    label = _file_label(module.caller, "module.caller", claimed)
    binding = module.binding
    if binding is None or binding == module.caller or module.caller.package is not None:
        return label
    return f"{label} by way of {_file_label(binding, 'module.binding', claimed)}"


# By test, as that is where somebody looks for it.
def _around_label(record: ConnectionRecord) -> str:
    label = module_label(record)
    if record.guard_reason in CHILDREN:
        label = f"a child ({program_label(record.process)})"
    test = record.code.test if record.code is not None else None
    return f"{label} in {test}" if test is not None else label


def _file_label(file: ModuleFile, name: str, claimed: set[str]) -> str:
    label = (file.path or "code in no file").rpartition("/")[2]
    package = file.package
    if package is not None:
        label += f" ({package.name} {package.version or ''}".rstrip() + ")"
    # If the file is a claim, so is its package.
    doubtful = name in claimed or (package is not None and f"{name}.package" in claimed)
    return f"{label} (claimed)" if doubtful else label


def code_label(code: CodeRecord | None) -> str:
    """Return the test or the function that is the `code`; "" if neither is known."""
    if code is None:
        return ""
    if code.test is not None:
        during = f", during {code.test_at_call}" if code.test_at_call else ""
        return code.test + ("" if code.test_confirmed else " (claimed)") + during
    if code.function is None:
        return ""
    file = "/".join((code.file or "?").split("/")[-2:])
    return f"{code.function} ({file}:{code.line or '?'})"


def via_label(record: ConnectionRecord | DnsRecord) -> str:
    """Return which module or package in the program it was; "" if it says nothing more.

    The module is named where it bypassed the language's own sockets; else the package
    of the Python code, or of the program, where its name is another.
    """
    if record.bypass:
        return f"bypass: {module_label(record)}"
    code, module = record.code, record.module
    if code is not None and code.package is not None:
        return code.package.name
    if module is None or record.route != "executable" or module.caller.package is None:
        return ""
    name = module.caller.package.name
    return "" if name == program_label(record.process) else name


def group_of(record: Record) -> Group | None:
    """Return with which violations `record` is counted; None if it is none."""
    if not isinstance(record, ConnectionRecord | DnsRecord):
        return None
    return _key(record) if record.verdict == "violation" else None


def _key(record: ConnectionRecord | DnsRecord) -> Group:
    if isinstance(record, DnsRecord):
        destination, host = _look_up(record)
    else:
        destination, host = _peer(record)
    return Group(
        destination,
        program_label(record.process),
        via_label(record),
        code_label(record.code),
        _why(record.reason),
        host,
        isinstance(record, DnsRecord),
    )


def _peer(record: ConnectionRecord) -> tuple[str, str]:
    name = record.dst.names[0].name if record.dst.names else record.dst.ip
    host = f"[{name}]" if ":" in name else name
    port = f":{record.dst.port}" if record.dst.port is not None else ""
    where = f"{host}{port}/{record.protocol}"
    if record.op == "accept":  # the peer's port is a new one each time
        where = f"accepted from {host} at port {record.local_port}/{record.protocol}"
    return where, name


def _look_up(record: DnsRecord) -> tuple[str, str]:
    name = record.name or "an unreadable message"
    return f"lookup of {name} at {record.resolver}", record.name or ""


def _why(reason: str) -> str:
    return _RESOLVER.sub(r"\1", _REPEATED.sub(r"\1 it", reason))


def step_label(step: Step) -> str:
    """Return which step of which job it is, for people."""
    names = [name for name in (step.job, step.name) if name]
    return "/".join(dict.fromkeys(names)) or step.system


def program_label(process: Actor | None) -> str:
    """Return the name of the program that `process` runs, for people."""
    # The executable's name comes first: any thread can change its own name (comm).
    if process is None:
        return "unknown process"
    name = (process.exe or "").rpartition("/")[2]
    return name or process.comm or f"process {process.pid}"
