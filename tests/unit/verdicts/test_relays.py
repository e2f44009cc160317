"""What a helper of an engine repeats is counted once; what it makes itself is not."""

from typing import Any

import pytest

from egressmon.attribution.processes.process import Process
from egressmon.events.decode import decode
from egressmon.events.model import Flow
from egressmon.evidence.records.traffic import ConnectionRecord, Peer
from egressmon.verdicts.relays import Relays
from support.events import flow

CONTAINER, MACHINE = 2, 1
USER = 1000
SECOND = 1_000_000_000
HELPER = 50


class Run:
    """Relays that know one helper, with pid HELPER."""

    def __init__(self, helper: str = "pasta", argv: list[str] | None = None) -> None:
        process = Process(HELPER, 1, 1, USER, helper, argv=argv, helper=helper)
        self.relays = Relays(
            lambda one: process if one.pid == HELPER else None,
            lambda one: frozenset({one.uid, USER} if one.pid == 100 else {one.uid}),
            lambda: frozenset({helper}),
            lambda pid: pid == HELPER,
        )

    def note(self, verdict: str = "allowed", **fields: Any) -> None:
        """Have a process of the container's make a connection."""
        known: dict[str, Any] = {"netns": CONTAINER, "uid": 100_000, **fields}
        made = event(**known)
        self.relays.note(made, record(verdict))

    def repeated(self, **fields: Any) -> str | None:
        """Return the verdict on what the helper makes; None: it is its own."""
        known: dict[str, Any] = {"tgid": HELPER, "netns": MACHINE, "uid": USER}
        found = self.relays.verdict(event(**{**known, **fields}))
        return found[0].word if found is not None else None


def event(ip: str = "203.0.113.9", port: int = 443, **fields: Any) -> Flow:
    known: dict[str, Any] = {"ktime_ns": SECOND, **fields}
    made = decode(flow(ip, port, known.pop("kind", "KIND_CONNECT"), **known))
    assert isinstance(made, Flow)
    return made


def record(verdict: str) -> ConnectionRecord:
    return ConnectionRecord(
        "connect", "tcp", "inet", "scope", Peer("203.0.113.9", 443, []), None, None,
        verdict, "observed", "allow[0]", "why", None, None, "system", None, None, None,
        "unknown", None, place=1,
    )  # fmt: skip


@pytest.mark.parametrize("verdict", ["allowed", "violation"])
def test_what_is_repeated_has_the_verdict_of_the_containers_own(verdict: str) -> None:
    run = Run()
    run.note(verdict)

    found = run.relays.verdict(event(tgid=HELPER, netns=MACHINE, uid=USER))

    assert found is not None
    assert (found[0].word, found[0].rule) == (verdict, "allow[0]")
    assert found[0].reason == "pasta repeats it for process 100: why"
    assert (found[1].helper, found[1].place, found[1].pid) == ("pasta", 1, 100)


def test_one_stands_for_one() -> None:
    run = Run()
    run.note()

    assert [run.repeated() for _ in range(2)] == ["allowed", None]


@pytest.mark.parametrize(
    "other",
    [
        {"ip": "203.0.113.10"},
        {"port": 444},
        {"protocol": 17},
        {"ktime_ns": 4 * SECOND},
        {"ktime_ns": SECOND - 1},
        {"uid": 1001},
        {"netns": CONTAINER},
        {"tgid": 51},
        {"kind": "KIND_ACCEPT"},
    ],
    ids=str,
)
def test_anything_else_is_the_helpers_own(other: dict[str, Any]) -> None:
    run = Run()
    run.note()

    assert run.repeated(**other) is None


PROXY = [
    "/usr/bin/docker-proxy", "-proto", "tcp", "-host-ip", "::", "-host-port",
    "8080", "-container-ip", "172.17.0.2", "-container-port", "80",
]  # fmt: skip
PUBLISHED = {"ip": "172.17.0.2", "port": 80, "uid": 0}


@pytest.mark.parametrize(
    "first",
    [
        {"ip": "127.0.0.1", "port": 8080, "receiver": 1},
        {
            "ip": "198.51.100.9",
            "port": 50000,
            "local_port": 8080,
            "kind": "KIND_ACCEPT",
        },
    ],
    ids=["from-the-machine", "from-outside"],
)
def test_a_published_port_is_handed_on(first: dict[str, Any]) -> None:
    run = Run("docker-proxy", PROXY)
    run.note("local", **{"netns": MACHINE, **first})

    assert run.repeated(**PUBLISHED) == "local"
    assert run.repeated(**PUBLISHED) is None


@pytest.mark.parametrize(
    "other", [{"ip": "172.17.0.3"}, {"port": 81}, {"uid": USER}], ids=str
)
def test_a_proxy_for_nobody_is_judged_itself(other: dict[str, Any]) -> None:
    run = Run("docker-proxy", PROXY)
    run.note("local", ip="127.0.0.1", port=8080, receiver=1, netns=MACHINE)

    assert run.repeated(**{**PUBLISHED, **other}) is None


def test_what_is_remembered_is_bounded() -> None:
    run = Run()
    for number in range(5000):
        run.note(ip=f"198.51.{number >> 8}.{number & 255}")

    assert run.repeated(ip="198.51.0.0") is None
    assert run.repeated(ip="198.51.19.135") == "allowed"
