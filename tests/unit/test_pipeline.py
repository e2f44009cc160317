"""All stages together, from event bytes to records, without a kernel."""

import ipaddress
from collections.abc import Iterator
from itertools import chain, repeat
from typing import cast

import dns.message
import dns.rrset
import pytest

from egressmon.attribution.processes import Processes
from egressmon.attribution.processes.process import LOST
from egressmon.attribution.result import unknown
from egressmon.attribution.stage import Attributor
from egressmon.clock import Clock
from egressmon.events.model import (
    DNS_SCOPE_RECEIVES,
    FLAG_CANARY,
    FLAG_INGRESS,
    FLAG_OWNERLESS,
    FLAG_UNREAD,
    Address,
    Flow,
)
from egressmon.evidence.records import Record
from egressmon.evidence.records.actors import ProcessExit, ProcessRecord
from egressmon.evidence.records.running import LossRecord, UnreadableRecord
from egressmon.evidence.records.traffic import ConnectionRecord, DnsRecord
from egressmon.evidence.tally import Tally
from egressmon.faults import Faults
from egressmon.naming.names import Names
from egressmon.policy.judging.judge import Judge
from egressmon.policy.judging.questions import Listener
from egressmon.policy.language.model import Allow, Policy
from egressmon.probes.wire import CONSTANTS
from egressmon.runs.assemble import Knowledge, Wiring, assemble
from egressmon.sensor.canary import CanaryWatch, make_plan
from egressmon.sensor.intake import Batch
from support.events import dns as dns_event
from support.events import event, executed, flow

RESOLVER = "192.0.2.53"
STUB = "127.0.0.53"
POLICY = Policy(version=1, allow=(Allow(host="api.example.org"),))


class Replay:
    """A pipeline that appends its records to `records`; its home is namespace 1."""

    def __init__(
        self, listener: Listener = "nobody", attributor: Attributor | None = None
    ) -> None:
        self.records: list[Record] = []
        self.asked: list[tuple[str, int]] = []
        canaries = CanaryWatch()
        canaries.begin(make_plan())
        trusted = frozenset(map(ipaddress.ip_address, (RESOLVER, STUB)))
        judge = Judge(POLICY, trusted)
        self.canaries, self.processes = canaries, Processes(proc_is_ours=False)
        knowledge = Knowledge(Names(), self.processes, canaries)
        self._is_over: Iterator[bool] = repeat(False)
        self.pipeline = assemble(
            Wiring(
                judge,
                knowledge,
                who_listens=lambda ip, port, _: self._who(ip, port, listener),
                before_unnamed=lambda: None,
                attribute=lambda _: unknown("a test"),
                attributor=attributor,
                clock=Clock(),
                faults=Faults(),
                sink=lambda record, _: self.records.append(record),
                is_over=lambda: next(self._is_over),
            )
        )
        # The pipeline learns from the first canary which network namespace is home.
        self.feed(flow("127.0.0.1", 9, flags=FLAG_CANARY, netns=1))

    def _who(self, ip: Address, port: int, listener: Listener) -> Listener:
        self.asked.append((str(ip), port))
        return listener

    def ends_after(self, events: int) -> None:
        """Have the time for events be over after so many more of them."""
        self._is_over = chain(repeat(False, events), repeat(True))

    def feed(self, *events: bytes) -> "Replay":
        self.pipeline.feed(events)
        return self

    def connection(self) -> ConnectionRecord:
        (record,) = (one for one in self.records if isinstance(one, ConnectionRecord))
        return record

    def query(self) -> DnsRecord:
        (record,) = (one for one in self.records if isinstance(one, DnsRecord))
        return record


def lookup(name: str, ip: str, server: str = RESOLVER, **fields: object) -> list[bytes]:
    question = dns.message.make_query(name, "A")
    response = dns.message.make_response(question)
    response.answer.append(dns.rrset.from_text(name + ".", 60, "IN", "A", ip))
    return [
        dns_event(server, question.to_wire(), **fields),
        dns_event(server, response.to_wire(), flags=FLAG_INGRESS, **fields),
    ]


def test_a_name_that_was_looked_up_decides() -> None:
    replay = Replay().feed(
        executed(100, b"client", b"--token", b"hunter2"),
        *lookup("api.example.org", "203.0.113.9"),
        flow("203.0.113.9", 443),
    )

    connection = replay.connection()
    assert connection.verdict == "allowed"
    assert connection.dst.names[0].name == "api.example.org"
    assert connection.process is not None
    assert connection.process.argv == ["client", "--token", "***"]
    assert replay.query().answers == ["api.example.org A 203.0.113.9"]


def test_an_answer_from_another_network_namespace_names_nothing() -> None:
    replay = Replay().feed(
        *lookup("api.example.org", "203.0.113.9", netns=2), flow("203.0.113.9", 443)
    )

    assert replay.connection().verdict == "violation"
    assert replay.query().trusted is False
    assert "another network namespace" in replay.query().reason


def test_an_answer_from_the_scopes_own_server_names_nothing() -> None:
    replay = Replay().feed(
        *lookup("api.example.org", "203.0.113.9", STUB, traits=DNS_SCOPE_RECEIVES),
    )

    assert replay.query().trusted is False
    assert "the scope itself receives there" in replay.query().reason


@pytest.mark.parametrize(
    ("receiver", "netns", "answer", "verdict", "asks"),
    [
        ("SCOPE", 1, "outside", "local", 0),
        ("NOBODY", 1, "outside", "local", 0),
        ("OUTSIDE", 1, "scope", "violation", 0),
        ("REMOTE", 1, "scope", "violation", 0),
        ("SHARED", 1, "scope", "local", 1),
        ("SHARED", 1, "outside", "violation", 1),
        ("SHARED", 1, "nobody", "violation", 1),
        ("SHARED", 2, "scope", "violation", 0),
        ("ASK", 1, "nobody", "local", 1),
        ("ASK", 1, "unknown", "violation", 1),
        ("ASK", 2, "scope", "violation", 0),
    ],
)
def test_who_receives_decides_and_no_address(
    receiver: str, netns: int, answer: Listener, verdict: str, asks: int
) -> None:
    number = CONSTANTS[f"RECEIVER_{receiver}"]

    for address in ("127.0.0.1", "203.0.113.9"):
        event = flow(address, 80, receiver=number, netns=netns)
        replay = Replay(answer).feed(event)

        assert replay.connection().verdict == verdict
        assert len(replay.asked) == asks


def test_an_accepted_peer_is_judged_by_where_it_is() -> None:
    kind = "KIND_ACCEPT"
    near = flow("10.0.0.1", 999, kind, receiver=CONSTANTS["RECEIVER_OUTSIDE"])
    far = flow("203.0.113.9", 999, kind, local_port=80)

    here = Replay().feed(near).connection()
    there = Replay().feed(far).connection()

    assert (here.verdict, here.rule) == ("local", "accept.from")
    assert (there.verdict, there.rule) == ("violation", "accept.from")
    assert there.local_port == 80


def test_a_flow_without_an_owner_is_recorded_and_counted() -> None:
    replay = Replay().feed(
        flow("203.0.113.9", 0, "KIND_PACKET", protocol=1, flags=FLAG_OWNERLESS)
    )

    connection = replay.connection()
    assert connection.process is None
    assert connection.process_reason
    assert connection.dst.port is None
    tally = Tally()
    tally.add(connection)
    assert tally.unattributed == 1


def test_a_process_from_before_is_named_by_what_the_kernel_said() -> None:
    connection = Replay().feed(flow("203.0.113.9", 443)).connection()

    assert connection.process is not None
    assert connection.process.comm == "client"
    assert connection.process.exe is None
    assert connection.process_reason


def test_a_pid_that_is_used_again_is_another_process() -> None:
    replay = Replay().feed(
        executed(100, b"first", path=b"/bin/first"),
        event("process_event", "KIND_EXIT", tgid=100, exit_code=9),
        event("process_event", "KIND_FORK", tgid=100, parent=1, start_ns=2),
        executed(100, b"second", path=b"/bin/second"),
        flow("203.0.113.9", 443),
    )

    actor = replay.connection().process
    assert actor is not None
    assert actor.exe == "/bin/second"
    exits = [
        one.exit
        for one in replay.records
        if isinstance(one, ProcessRecord) and one.event == "exit"
    ]
    assert exits == [ProcessExit(status=None, signal=9)]


def test_a_fork_runs_what_its_parent_runs() -> None:
    replay = Replay().feed(
        executed(50, b"server", path=b"/bin/server"),
        event(
            "process_event",
            "KIND_FORK",
            tgid=100,
            start_ns=1,
            parent=50,
            comm=b"worker",
        ),
        flow("203.0.113.9", 443),
    )

    actor = replay.connection().process
    assert actor is not None
    assert actor.exe == "/bin/server"
    assert actor.ancestry == ["client"]


def unreadable(replay: Replay) -> list[UnreadableRecord]:
    return [one for one in replay.records if isinstance(one, UnreadableRecord)]


def test_what_is_no_event_is_recorded_and_the_next_one_read() -> None:
    replay = Replay().feed(
        b"", flow("203.0.113.9", 443)[:-1], b"\xff" * 200, flow("203.0.113.9", 443)
    )

    assert replay.pipeline.tracker.unreadable == 3
    assert [(one.event, one.size, one.error) for one in unreadable(replay)] == [
        ("kind 0", 0, "DecodeError"),
        ("connect", len(flow("203.0.113.9", 443)) - 1, "DecodeError"),
        ("kind 4294967295", 200, "DecodeError"),
    ]
    assert [len(one.head) for one in unreadable(replay)] == [0, 128, 128]
    assert replay.connection().dst.port == 443


def test_an_event_that_breaks_a_stage_does_not_end_the_reading() -> None:
    replay = Replay()
    whole = replay.pipeline.connections.record

    def breaking(flow: Flow) -> ConnectionRecord:
        if flow.port == 666:
            raise RuntimeError("password=hunter2hunter2 \x1b[31m\ud800")
        return whole(flow)

    replay.pipeline.connections.record = breaking  # type: ignore[method-assign]
    replay.feed(*(flow("203.0.113.9", port) for port in (666, 443, 666)))

    assert replay.connection().dst.port == 443
    assert replay.pipeline.tracker.unreadable == 2
    first = unreadable(replay)[0]
    assert (first.event, first.error) == ("connect", "RuntimeError")
    assert "hunter2" not in first.message
    assert first.message.startswith("password=***")


def test_a_process_is_recorded_whatever_becomes_of_its_attribution() -> None:
    class Broken:
        def on_fork(self, _: object) -> None:
            raise RuntimeError("put here for a test")

        on_exec = on_exit = on_fork

    replay = Replay(attributor=cast("Attributor", Broken())).feed(
        event("process_event", "KIND_FORK", tgid=100, parent=1, start_ns=2),
        executed(100, b"first"),
        event("process_event", "KIND_EXIT", tgid=100),
    )

    made = [one.event for one in replay.records if isinstance(one, ProcessRecord)]
    assert made == ["fork", "exec", "exit"]
    assert [one.event for one in unreadable(replay)] == made


def test_what_is_left_when_the_time_is_over_is_counted_and_ends_nothing() -> None:
    # A ring that is never empty.
    def full() -> Batch:
        return Batch([flow("203.0.113.9", port) for port in range(1, 201)], [], 0)

    replay = Replay()
    replay.ends_after(128)

    replay.pipeline.drain(full)
    replay.pipeline.finish()

    made = [one for one in replay.records if isinstance(one, ConnectionRecord)]
    assert len(made) == 128
    left = 64 * 200 - 128
    assert replay.pipeline.tracker.unread == left
    losses = [one for one in replay.records if isinstance(one, LossRecord)]
    assert [(one.where, one.count) for one in losses] == [("unread", left)]


# Without these the run would wait for exits that are known, and doubt its own canaries.
def test_exits_and_canaries_are_noted_even_when_the_time_is_over() -> None:
    replay = Replay().feed(executed(100, b"client"))
    replay.ends_after(0)

    replay.feed(
        flow("203.0.113.9", 443),
        event("process_event", "KIND_EXIT", tgid=100),
        flow("127.0.0.1", 9, flags=FLAG_CANARY, netns=5),
        flow("203.0.113.9", 443)[:-1],
    )

    assert replay.pipeline.tracker.ended == {100}
    assert replay.processes.alive() == []
    assert replay.canaries.netns == 5
    assert replay.pipeline.tracker.unread == 3
    assert [type(one) for one in replay.records] == [ProcessRecord]


def test_only_the_first_unreadable_events_are_recorded_and_all_counted() -> None:
    replay = Replay().feed(*[b"\xff" * 200] * 250)

    replay.pipeline.finish()

    assert len(unreadable(replay)) == 100
    assert replay.pipeline.tracker.unreadable == 250
    losses = [one for one in replay.records if isinstance(one, LossRecord)]
    assert [(one.where, one.count) for one in losses] == [("unreadable", 150)]


def test_a_query_without_an_answer_is_recorded_at_the_end() -> None:
    replay = Replay().feed(lookup("api.example.org", "203.0.113.9")[0])
    assert replay.records == []

    replay.pipeline.finish()

    assert replay.query().status is None
    assert "no answer was seen" in replay.query().reason


# Each flow counts the execs of its process and ancestors; one event here is lost.
def test_a_program_whose_exec_was_lost_is_unknown_and_so_is_what_it_starts() -> None:
    replay = Replay().feed(
        executed(100, b"allowed", path=b"/bin/allowed"),
        flow("203.0.113.9", 443, exec_id=1),
        event("process_event", "KIND_FORK", tgid=7, start_ns=2, parent=100, exec_id=1),
        flow("203.0.113.9", 443, tgid=7, start_ns=2, exec_id=1),
    )

    for record in replay.records:
        if isinstance(record, ConnectionRecord):
            assert record.process is not None
            assert record.process.exe is None
            assert record.process.argv is None
            assert "lost" in str(record.process_reason)
    lost = [one for one in replay.records if isinstance(one, ConnectionRecord)]
    assert [one.module_reason for one in lost] == [LOST, "a test"]


def test_a_pid_that_is_used_again_unseen_is_nobody_known() -> None:
    replay = Replay().feed(
        executed(100, b"first", path=b"/bin/first"),
        flow("203.0.113.9", 443, start_ns=9),
    )

    actor = replay.connection().process
    assert actor is not None
    assert (actor.exe, actor.ppid, actor.ancestry) == (None, None, [])
    assert replay.connection().module_reason == LOST


def test_a_socket_older_than_the_program_is_the_earlier_programs() -> None:
    replay = Replay().feed(
        executed(100, b"first", path=b"/bin/first"),
        executed(100, b"second", path=b"/bin/second", exec_id=1),
        flow("203.0.113.9", 443, "KIND_PACKET"),
    )

    actor = replay.connection().process
    assert actor is not None
    assert actor.exe == "/bin/first"


def test_bytes_beyond_a_sockets_share_are_a_violation_of_who_sent_them() -> None:
    replay = Replay().feed(
        dns_event(RESOLVER, b"", total_size=4096, flags=FLAG_UNREAD),
        dns_event(RESOLVER, b"", total_size=9, flags=FLAG_UNREAD | FLAG_INGRESS),
    )

    query = replay.query()
    assert query.verdict == "violation"
    assert query.reason.startswith("4096 bytes or more to port 53 were not read")
