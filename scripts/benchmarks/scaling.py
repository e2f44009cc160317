"""Compare long lists with short ones: bench.py scaling [ROUNDS].

What one step costs, in CPU time, should not grow with the list; nor should the time
that a run goes on after its command.
"""

import ipaddress
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import AGENT, Bench

from egressmon.evidence.records.actors import Actor
from egressmon.evidence.records.traffic import (
    ConnectionRecord,
    DnsRecord,
    NameRecord,
    Peer,
)
from egressmon.naming.dns.message import read_message
from egressmon.policy.judging.judge import Judge
from egressmon.policy.judging.questions import Destination
from egressmon.policy.language.model import Allow, Dns, Policy
from egressmon.policy.reading.file import load_policy
from egressmon.reports.proposing.learned_policy import Lesson

ENTRIES = (10, 100, 1_000, 10_000)
HOSTS = (250, 500, 1_000, 2_000, 4_000)
ANSWERS = (1, 64, 640, 4_000)
CONNECTS = (100, 1_000, 10_000, 40_000)
LOOK_UPS = 2_000
RESOLVER = ipaddress.ip_address("192.0.2.53")
FIRST = ipaddress.ip_address("10.0.0.0")
ACTOR = Actor(1, 1, 0, 0, "client", "/bin/client", [], [])


def taken(step: Callable[[], object]) -> float:
    """Return how long `step` takes, in seconds of CPU."""
    start = time.process_time()
    step()
    return time.process_time() - start


def show(title: str, unit: str, lengths: Sequence[int], costs: list[float]) -> None:
    """Print the cost of each length, and how it compares with the first."""
    print(f"\n{title}")
    for length, cost in zip(lengths, costs, strict=True):
        print(f"  {length:6}  {cost:10.2f} {unit}  {cost / costs[0]:6.2f}x")


def hosts(count: int) -> Policy:
    """Return a policy that allows `count` names."""
    return Policy(
        version=1, allow=tuple(Allow(host=f"host{n}.example.org") for n in range(count))
    )


def cidrs(count: int) -> Policy:
    """Return a policy that allows `count` ranges."""
    return Policy(
        version=1,
        allow=tuple(Allow(cidr=f"{FIRST + n * 256}/24") for n in range(count)),
    )


def names(count: int) -> Policy:
    """Return a policy that lets `count` names be looked up."""
    listed = tuple(f"host{n}.example.org" for n in range(count))
    return Policy(version=1, dns=Dns(names=listed))


def judged(policy: Policy) -> float:
    """Return how long a verdict on a connection takes, in microseconds."""
    judge = Judge(policy, frozenset({RESOLVER}))
    last = len(policy.allow) - 1
    covered = Destination(FIRST + last * 256, 443, "tcp", (f"host{last}.example.org",))
    other = Destination(RESOLVER, 443, "tcp", ("none.example.org",))

    def ask() -> None:
        for _ in range(LOOK_UPS):
            judge.connection(covered)
            judge.connection(other)

    return taken(ask) / LOOK_UPS / 2 * 1e6


def asked(policy: Policy) -> float:
    """Return how long a verdict on a look-up takes, in microseconds."""
    judge = Judge(policy, frozenset({RESOLVER}))
    last = max(len(policy.allow), len(policy.dns.names)) - 1

    def ask() -> None:
        for _ in range(LOOK_UPS):
            judge.query(f"host{last}.example.org", RESOLVER)
            judge.query("none.example.org", RESOLVER)

    return taken(ask) / LOOK_UPS / 2 * 1e6


def loaded(count: int) -> float:
    """Return how long each entry of a policy file takes to load, in microseconds."""
    entries = "".join(
        f'[[allow]]\nhost = "host{n}.example.org"\n' for n in range(count)
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "egress.toml")
        file.write_text(f"version = 1\n{entries}")
        file.chmod(0o600)
        return taken(lambda: load_policy(file)) / count * 1e6


def connection(number: int) -> ConnectionRecord:
    """Return the record of a connection to a host; each tenth has a second name."""
    names = [f"host{number}.example.org"]
    names += ["shared.example.org"] if number % 10 == 0 else []
    return ConnectionRecord(
        op="connect",
        protocol="tcp",
        family="inet",
        socket="scope",
        dst=Peer(
            str(FIRST + number),
            443,
            [NameRecord(name, "dns") for name in names],
        ),
        process=ACTOR,
        process_reason=None,
        verdict="violation",
        action="observed",
        rule=None,
        reason="",
        module=None,
        module_reason=None,
        route="unknown",
        route_reason=None,
        bypass=None,
        code=None,
        code_status="none",
        code_reason=None,
    )


def look_up(name: str) -> DnsRecord:
    """Return the record of a look-up of `name`, where nothing connected."""
    return DnsRecord(
        protocol="udp",
        resolver="192.0.2.53",
        name=name,
        asked=None,
        kind="A",
        status="NOERROR",
        answers=[],
        answer_count=0,
        unread_bytes=0,
        trusted=True,
        process=ACTOR,
        process_reason=None,
        verdict="allowed",
        rule="dns.queries",
        reason="",
        module=None,
        module_reason=None,
        route="unknown",
        route_reason=None,
        bypass=None,
        code=None,
        code_reason=None,
    )


def learned(count: int) -> float:
    """Return how long each host takes `learn` to write, in microseconds."""
    lesson = Lesson()
    for number in range(count):
        lesson.add(connection(number))
        lesson.add(look_up(f"host{number}.example.org"))
        lesson.add(look_up(f"unused{number}.example.org"))
    return taken(lambda: lesson.policy_text("client", ("corp.example",))) / count * 1e6


def answered(count: int) -> float:
    """Return how long an answer of `count` addresses takes to read, in microseconds."""
    question = b"\1a\7example\0\0\1\0\1"
    record = b"\xc0\x0c" + struct.pack("!HHIHI", 1, 1, 60, 4, 0x0A000001)
    header = struct.pack("!HHHHHH", 7, 0x8180, 1, count, 0, 0)
    data = header + question + record * count
    return taken(lambda: [read_message(data) for _ in range(100)]) / 100 * 1e6


MEASUREMENTS: tuple[tuple[str, str, Sequence[int], Callable[[int], float]], ...] = (
    ("a connection, by allowed names", "us", ENTRIES, lambda n: judged(hosts(n))),
    ("a connection, by allowed ranges", "us", ENTRIES, lambda n: judged(cidrs(n))),
    ("a look-up, by allowed names", "us", ENTRIES, lambda n: asked(hosts(n))),
    ("a look-up, by dns.names", "us", ENTRIES, lambda n: asked(names(n))),
    ("loading a policy, each entry", "us", ENTRIES, loaded),
    ("what learn writes, each host", "us", HOSTS, learned),
    ("reading an answer of so many addresses", "us", ANSWERS, answered),
)


class Tail(Bench):
    """How long a run goes on after its command, however much there is to read."""

    def after(self, connects: int) -> float:
        """Return the seconds from the command's end to that of the run."""
        script = (
            f"{AGENT}; kill -STOP $AGENT; {self._load} tcp {connects} >&2; "
            f"kill -CONT $AGENT; date +%s.%N >{self._facts}"
        )
        subprocess.run(self._watched("sh", "-c", script), check=False)
        return time.time() - float(self._facts.read_text())


def compare(folder: Path, rounds: int) -> None:
    """Print all measurements: of each the least of `rounds`, as noise only adds."""
    for title, unit, lengths, measure in MEASUREMENTS:
        found = [[measure(length) for length in lengths] for _ in range(rounds)]
        show(title, unit, lengths, list(map(min, zip(*found, strict=True))))
    tail = Tail(folder, rounds)
    title = "a run's end after its command's, with so many connections unread"
    show(title, "s", CONNECTS, [tail.after(count) for count in CONNECTS])
