"""Evidence that the stages of a run really wrote, from events of no kernel."""

from collections.abc import Callable, Sequence
from pathlib import Path

import dns.message
import dns.rrset

from egressmon.clock import Clock
from egressmon.events.model import FLAG_CANARY, FLAG_INGRESS
from egressmon.evidence.records.running import CanaryRecord, RunEnd, RunStart
from egressmon.evidence.rendering import render
from egressmon.evidence.tally import Tally
from egressmon.evidence.writer import Evidence
from egressmon.locking import write_lock
from egressmon.policy.reading.file import load_policy
from egressmon.policy.reading.place import PolicyFile
from egressmon.sensor.blind_spots import ALWAYS
from egressmon.sensor.intake import Batch
from egressmon.verifying.records.bounds import LOSSES
from support.events import dns as dns_event
from support.events import event, executed, flow
from support.replaying import RESOLVER, Replay

POLICY = """\
version = 1
enforce = "fail"

[[allow]]
host = "api.example.org"
ports = [443]
reason = "the service itself"

[[allow]]
cidr = "203.0.113.10/32"

[[deny]]
host = "evil.example.com"
"""
CALLER = 100


def look_up(name: str, ip: str, alias: str | None = None) -> list[bytes]:
    """Return the events of a look-up of `name`, which leads to `ip`."""
    question = dns.message.make_query(name, "A", id=7)
    response = dns.message.make_response(question)
    last = f"{name}."
    if alias is not None:
        last = f"{alias}."
        response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", last))
    response.answer.append(dns.rrset.from_text(last, 60, "IN", "A", ip))
    return [
        dns_event(RESOLVER, question.to_wire(), tgid=CALLER, tid=CALLER),
        dns_event(
            RESOLVER, response.to_wire(), flags=FLAG_INGRESS, tgid=CALLER, tid=CALLER
        ),
    ]


def fork(pid: int = CALLER, parent: int = 1) -> bytes:
    """Return the event of a process that begins."""
    return event(
        "process_event", "KIND_FORK", tgid=pid, parent=parent, start_ns=1, comm=b"sh"
    )


def exited(pid: int = CALLER) -> bytes:
    """Return the event of a process that ends."""
    return event("process_event", "KIND_EXIT", tgid=pid, start_ns=1)


SCENARIO = [
    fork(),
    executed(CALLER, b"client", b"--all"),
    *look_up("api.example.org", "203.0.113.9", "cdn.example.net"),
    flow("203.0.113.9", 443),
    flow("203.0.113.10", 80),
    flow("203.0.113.9", 443),
    exited(),
]
"""A look-up, and three connections of one process; one is in violation."""


def timed(events: Sequence[bytes]) -> list[bytes]:
    """Return the events with times that grow."""
    return [
        (now + 10).to_bytes(8, "little") + data[8:] for now, data in enumerate(events)
    ]


def record(
    path: Path,
    events: Sequence[bytes] = SCENARIO,
    *,
    policy: str = POLICY,
    make: Callable[[Clock], Evidence] | None = None,
) -> None:
    """Write the evidence of a run with these `events` to `path`, as a run does.

    `make` makes what is written to, in the place of a file at `path`.
    """
    loaded = load_policy(PolicyFile(path.parent / "policy.toml", policy.encode()))
    replay = Replay(path, remembers=True, policy=loaded.policy, evidence=make)
    evidence, now = replay.evidence, replay.clock.now_ns()
    evidence.put(render(run_start(loaded.digest)), now)
    for when in ("start", "end"):
        if when == "end":
            home = flow("127.0.0.1", 9, flags=FLAG_CANARY, netns=1)
            replay.process([Batch([home, *timed(events)], [], 0)])
            replay.pipeline.finish()
        canary = CanaryRecord(
            when, "connect4/tcp", "192.0.2.1", 9,
            sent=True, refused=True, seen=True, errno=None, reason=None,
        )  # fmt: skip
        evidence.put(render(canary), now)
    evidence.examine()
    unreadable = replay.pipeline.tracker.unreadable
    evidence.put(render(_end(replay.tally, unreadable, evidence.lost)), now)
    evidence.close()


def proof(folder: Path, runs: int = 2) -> Path:
    """Make a directory of runs with their policy and their lock, and return it."""
    folder.mkdir()
    (folder / "policy.toml").write_text(POLICY)
    for number in range(1, runs + 1):
        inner = folder / f"run-{number:02d}"
        inner.mkdir()
        record(inner / "evidence.jsonl")
        (inner / "client.log").write_text("a line of a log\n")
    write_lock(str(folder), policy="policy.toml")
    return folder


def run_start(digest: str | None = None) -> RunStart:
    """Return how such a run begins."""
    return RunStart(
        egressmon="0.1.0", engine="libbpf 1.5", engine_reason="preferred",
        kernel="6.1", machine="x86_64", host="lab", scope="/sys/fs/cgroup/scope",
        user=1000, command=["client", "--all"], argv="masked", cwd="/src",
        policy="policy.toml", policy_digest=digest, enforce="fail",
        resolvers=[RESOLVER], hooks=["connect4"],
        blind_spots=[one.value for one in ALWAYS],
        attribution="process", armed_ms=300,
    )  # fmt: skip


def _end(tally: Tally, unreadable: int, lost: int) -> RunEnd:
    reasons = [f"{unreadable} events could not be processed"] if unreadable else []
    reasons += list(tally.escapes)
    reasons += [f"{lost} records are not in the evidence"] if lost else []
    losses = {**dict.fromkeys(sorted(LOSSES), 0), "unreadable": unreadable}
    losses |= {"evidence": lost} if lost else {}
    verdict = "incomplete" if reasons else "clean"
    status = 121 if reasons else 0
    if tally.has_violations:
        verdict, status = "violations", 120
    return RunEnd(
        verdict=verdict,  # type: ignore[arg-type]
        complete=not reasons, incomplete_reasons=reasons,
        connections=dict(tally.connections), queries=dict(tally.queries),
        processes=tally.processes, losses=losses,
        unattributed_flows=tally.unattributed, unknown_modules=tally.unknown_modules,
        unknown_code=tally.unknown_code, bypasses=tally.bypasses, unnamed_addresses=0,
        canaries={"sent": 2, "seen": 2}, evidence="whole", sent_packets=9,
        sent_bytes=900, command_status=0, command_signal=None, exit_status=status,
        outlived=[], duration_ms=100, masked={},
        origins=dict(tally.origins),
        guard=dict(tally.guard),
    )  # fmt: skip
