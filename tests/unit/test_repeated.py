"""What is remembered of earlier connections changes nothing that is written."""

import ipaddress
import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import dns.message
import dns.rrset
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressmon import files
from egressmon.attribution import Level
from egressmon.events.model import (
    DNS_BEGIN,
    DNS_RAW,
    DNS_SCOPE_ANSWERS,
    DNS_SCOPE_RECEIVES,
    FLAG_CANARY,
    FLAG_FRAMES_LOST,
    FLAG_INGRESS,
    FLAG_OWNERLESS,
    FLAG_STACK_LOST,
    Flow,
)
from egressmon.evidence.records import Record
from egressmon.evidence.records.traffic import ConnectionRecord, DnsRecord
from egressmon.evidence.rendering import Rendered
from egressmon.policy.language.model import Allow, Deny, Dns, Local, Policy
from egressmon.probes.wire import CONSTANTS, LAYOUTS, STRUCTS
from egressmon.sensor.intake import Batch
from egressmon.values import replace
from support.events import dns as dns_event
from support.events import event, executed, flow
from support.replaying import RESOLVER, ProcessesGone, Replay

ADDRESSES = ("203.0.113.9", "203.0.113.10", "2001:db8::9", "127.0.0.1")
NAMES = ("api.example.org", "cdn.example.net", "evil.example.com")
PIDS = (100, 100, 101)
SECOND = 1_000_000_000
STEPS = (1, SECOND, 400 * SECOND, 700 * SECOND)
POLICY = Policy(
    version=1,
    allow=(Allow(host="api.example.org"), Allow(cidr="203.0.113.10/32", ports=(443,))),
    deny=(Deny(host="evil.example.com"),),
    local=Local(listeners="scope"),
)
RECEIVERS = tuple(
    CONSTANTS[f"RECEIVER_{name}"]
    for name in ("REMOTE", "REMOTE", "REMOTE", "SCOPE", "OUTSIDE", "SHARED", "ASK")
)
KINDS = ("KIND_CONNECT", "KIND_CONNECT", "KIND_SENDMSG", "KIND_PACKET", "KIND_ACCEPT")

pids = st.sampled_from(PIDS)
tids = st.sampled_from((100, 100, 101, 102))


def flow_of(ip: str, port: int, kind: str, **fields: object) -> list[bytes]:
    return [flow(ip, port, kind, **fields)]


flows = st.builds(
    flow_of,
    st.sampled_from(ADDRESSES),
    st.sampled_from((443, 443, 80, 53)),
    st.sampled_from(KINDS),
    tgid=pids,
    tid=tids,
    comm=st.sampled_from((b"client", b"other")),
    uid=st.sampled_from((0, 1000)),
    exec_id=st.integers(0, 1),
    start_ns=st.sampled_from((1, 1, 1, 2)),
    receiver=st.sampled_from(RECEIVERS),
    netns=st.sampled_from((1, 1, 2)),
    sent_port=st.sampled_from((0, 0, 0, 443)),
    flags=st.sampled_from(
        (0, 0, 0, 0, FLAG_STACK_LOST, FLAG_FRAMES_LOST, FLAG_OWNERLESS, FLAG_CANARY)
    ),
)


def fork_of(pid: int, parent: int, exec_id: int) -> list[bytes]:
    return [
        event(
            "process_event", "KIND_FORK", tgid=pid, parent=parent, start_ns=1,
            comm=b"p%d" % exec_id, exec_id=exec_id,
        )
    ]  # fmt: skip


def exit_of(pid: int) -> list[bytes]:
    return [event("process_event", "KIND_EXIT", tgid=pid, start_ns=1)]


forks = st.builds(fork_of, pids, st.sampled_from((1, *PIDS)), st.integers(0, 1))
exits = st.builds(exit_of, pids)


def exec_of(pid: int, argv: tuple[bytes, ...], exec_id: int) -> list[bytes]:
    return [executed(pid, *argv, exec_id=exec_id)]


def stack_of(pid: int, tid: int, status: int) -> list[bytes]:
    return [event("stack_event", "KIND_STACK", tgid=pid, tid=tid, status=status)]


execs = st.builds(
    exec_of,
    pids,
    st.sampled_from(((b"client",), (b"client", b"--token", b"hunter2"), (b"a", b"b"))),
    st.integers(0, 1),
)
stacks = st.builds(
    stack_of,
    pids,
    tids,
    st.sampled_from(
        (
            CONSTANTS["STACK_KNOWN"],
            CONSTANTS["STACK_IO_WORKER"],
            CONSTANTS["STACK_COMPAT"],
        )
    ),
)


def frames_of(  # noqa: PLR0913, PLR0917 -- the fields of an event
    pid: int, tid: int, codes: tuple[int, ...], level: int, child: int, status: str
) -> list[bytes]:
    return [
        event(
            "frames_event", "KIND_FRAMES",
            b"".join(struct.pack("=QIi", code, 7, 0) for code in codes),
            tgid=pid, tid=tid, status=CONSTANTS[status], start_ns=1, count=len(codes),
            total=len(codes), level=level, child=child, child_ns=1 if child else 0,
        )
    ]  # fmt: skip


def _frames(level: int, children: tuple[int, ...]) -> st.SearchStrategy[list[bytes]]:
    return st.builds(
        frames_of,
        pids,
        tids,
        st.sampled_from(((1,), (1, 2), (2, 3, 1))),
        st.just(level),
        st.sampled_from(children),
        st.sampled_from(("FRAMES_WHOLE", "FRAMES_WHOLE", "FRAMES_UNNOTED")),
    )


own_frames = _frames(0, (0,))
creators = _frames(1, (0,))
frames = _frames(0, (100, 101, 102))


def code_of(pid: int, code: int, name: bytes) -> list[bytes]:
    return [
        event(
            "code_event", "KIND_CODE", b"/src/app.py" + name,
            tgid=pid, start_ns=1, code=code, fingerprint=7, minor=11, first_line=code,
            missing=CONSTANTS["CODE_NO_LINES"], file_size=11, name_size=len(name),
        )
    ]  # fmt: skip


codes = st.builds(
    code_of, pids, st.sampled_from((1, 2, 3)), st.sampled_from((b"fetch", b"send"))
)


def _lookup(  # noqa: PLR0913, PLR0917 -- what a look-up has
    pid: int,
    tid: int,
    name: str,
    ip: str,
    alias: str | None,
    resolver: str = RESOLVER,
    **fields: object,
) -> list[bytes]:
    kind = "AAAA" if ":" in ip else "A"
    question = dns.message.make_query(name, kind)
    response = dns.message.make_response(question)
    last = name + "."
    if alias is not None:
        last = alias + "."
        response.answer.append(dns.rrset.from_text(name + ".", 60, "IN", "CNAME", last))
    response.answer.append(dns.rrset.from_text(last, 60, "IN", kind, ip))
    who = {"tgid": pid, "tid": tid, **fields}
    return [
        dns_event(resolver, question.to_wire(), **who),
        dns_event(resolver, response.to_wire(), **{**who, "flags": FLAG_INGRESS}),
    ]


lookups = st.builds(
    _lookup,
    pids,
    st.sampled_from((100, 101)),
    st.sampled_from(NAMES),
    st.sampled_from(ADDRESSES[:3]),
    st.sampled_from((None, None, "cdn.example.net")),
    st.sampled_from((RESOLVER, RESOLVER, RESOLVER, "192.0.2.54")),
    uid=st.sampled_from((0, 0, 1000)),
    exec_id=st.integers(0, 1),
    start_ns=st.sampled_from((1, 1, 1, 2)),
    netns=st.sampled_from((1, 1, 1, 2)),
    flags=st.sampled_from((0, 0, 0, FLAG_STACK_LOST, FLAG_OWNERLESS)),
    traits=st.sampled_from((0, 0, 0, DNS_SCOPE_RECEIVES, DNS_RAW)),
)


def cut(events: list[bytes], end: int) -> list[bytes]:
    return [events[0][:end]]


def ended_and_again(pid: int) -> list[bytes]:
    return [*exit_of(pid), *fork_of(pid, 1, 0)]


def joined(parts: tuple[list[bytes], ...]) -> list[bytes]:
    return [data for part in parts for data in part]


broken = st.builds(cut, flows | frames | stacks, st.integers(0, 120))
ends = st.builds(ended_and_again, pids)
nothing: st.SearchStrategy[list[bytes]] = st.builds(list[bytes])
disturbances = st.one_of(
    flows, stacks, frames, codes, codes, forks, execs, exits, ends, lookups, lookups,
    broken,
)  # fmt: skip
# What a thread does at a call: its stack, its frames and those of who made its task.
calls = st.tuples(
    nothing | stacks, nothing | own_frames, nothing | creators, flows | lookups
).map(joined)
# Each call is made so often that it is remembered, then something happens, and so on.
streams = st.tuples(
    st.lists(calls, min_size=1, max_size=3),
    st.lists(st.tuples(disturbances, st.sampled_from(STEPS)), max_size=6),
)


Step: TypeAlias = tuple[list[bytes], int]


def batches_of(
    calls: Sequence[list[bytes]], disturbances: Sequence[Step]
) -> list[Batch]:
    """Return the calls, again after each disturbance, with times that grow."""
    now = 10
    batches: list[Batch] = []
    for disturbance, step in [*disturbances, ([], 1)]:
        events: list[bytes] = []
        for call in [*calls, *calls, *calls, disturbance]:
            stack_ns = frames_ns = 0
            for data in call:
                kind = int.from_bytes(data[8:12], "little")
                now += 1
                if kind == CONSTANTS["KIND_STACK"]:
                    stack_ns = now
                elif kind == CONSTANTS["KIND_FRAMES"]:
                    frames_ns = frames_ns or now
                    now = frames_ns  # those of creators have the time of the call
                events.append(_timed(data, now, stack_ns, frames_ns))
        now += step
        batches.append(Batch(events, [], 0))
    return batches


# A flow and a DNS packet refer to what was told of their call.
def _timed(data: bytes, now: int, stack_ns: int, frames_ns: int) -> bytes:
    timed = (now.to_bytes(8, "little") + data[8:])[: len(data)]
    kind = int.from_bytes(data[8:12], "little")
    name = "dns_event" if kind == CONSTANTS["KIND_DNS"] else "flow_event"
    size = LAYOUTS[name].size
    if len(data) < size or (name == "flow_event" and len(data) != size):
        return timed
    made = STRUCTS[name].from_buffer_copy(timed)
    made.stack_ns, made.frames_ns = stack_ns, frames_ns
    return bytes(made) + timed[size:]


def _learns_late(replay: Replay) -> None:
    """Have a name of the policy resolved at the third chance."""
    replay.asked.append("")
    if len(replay.asked) == 3:
        replay.names.learn(
            ipaddress.ip_address(ADDRESSES[0]), NAMES[0], "policy-resolution"
        )


@pytest.fixture
def _no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_opener", ProcessesGone())


def _both_ways(  # noqa: PLR0913 -- as of Replay
    path: Path,
    batches: list[Batch],
    level: Level,
    *,
    limit: int = 10**9,
    may_translate: bool = False,
    late: bool = False,
) -> list[tuple[bytes, dict[str, object], list[Record]]]:
    found: list[tuple[bytes, dict[str, object], list[Record]]] = []
    for remembers in (False, True):
        records: list[Record] = []
        replay = Replay(
            path / "e.jsonl",
            level,
            remembers=remembers,
            policy=POLICY,
            limit=limit,
            before_unnamed=_learns_late if late else lambda _: None,
            on_record=records.append,
            may_translate=may_translate,
        )
        # By the first canary the stages learn in which namespace names are learned.
        home = flow("127.0.0.1", 9, flags=FLAG_CANARY, netns=1)
        replay.process([Batch([home], [], 0), *batches])
        found.append((replay.finish(), replay.summary(), records))
    return found


@pytest.mark.usefixtures("_no_processes")
@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    stream=streams,
    level=st.sampled_from(("full", "full", "module", "process")),
    limit=st.sampled_from((10**9, 10**9, 12_000)),
    may_translate=st.booleans(),
)
def test_what_is_remembered_changes_no_byte(
    tmp_path: Path,
    stream: tuple[list[list[bytes]], list[Step]],
    level: Level,
    limit: int,
    may_translate: bool,  # noqa: FBT001 -- drawn
) -> None:
    slow, fast = _both_ways(
        tmp_path,
        batches_of(*stream),
        level,
        limit=limit,
        may_translate=may_translate,
        late=True,
    )

    assert fast == slow


CALL = flow("203.0.113.9", 443)
STACK = event("stack_event", "KIND_STACK", tgid=100, tid=100, status=1)
OWN = frames_of(100, 100, (1, 2), 0, 0, "FRAMES_WHOLE")
CODES = [
    event(
        "code_event", "KIND_CODE", b"/src/app.py" + name, tgid=100, start_ns=1,
        code=code, fingerprint=7, minor=11, first_line=code,
        missing=CONSTANTS["CODE_NO_LINES"], file_size=11, name_size=5,
    )
    for code, name in ((1, b"fetch"), (2, b"build"), (3, b"serve"))
]  # fmt: skip
PYTHON = [STACK, *OWN, CALL]
PARENT = [*fork_of(101, 1, 0), *fork_of(100, 101, 0)]
STARTED = frames_of(101, 101, (1,), 0, 100, "FRAMES_WHOLE")
THREAD = [
    event(
        "frames_event", "KIND_FRAMES", OWN[0][LAYOUTS["frames_event"].size :],
        tgid=100, tid=102, start_ns=1, thread_ns=5, count=2, total=2,
    ),
    flow("203.0.113.9", 443, tid=102),
]  # fmt: skip
THREAD_STARTS = [
    event(
        "frames_event", "KIND_FRAMES", OWN[0][LAYOUTS["frames_event"].size :],
        tgid=100, tid=100, start_ns=1, child=102, child_ns=5, count=2, total=2,
    )
]  # fmt: skip


# (what a call is, what came before, what happens then, after how many seconds, and how
# often the record of the call is another one)
@pytest.mark.parametrize(
    ("call", "start", "meanwhile", "seconds", "changes"),
    [
        ([CALL], PARENT, _lookup(100, 100, NAMES[0], ADDRESSES[0], None), 0, 2),
        ([CALL], PARENT, _lookup(100, 100, NAMES[0], ADDRESSES[0], None), 700, 3),
        ([CALL], [*PARENT, *_lookup(100, 100, NAMES[0], ADDRESSES[0], None)],
         _lookup(100, 100, NAMES[2], ADDRESSES[1], NAMES[0]), 0, 2),
        ([CALL], PARENT, [executed(100, b"other")], 0, 2),
        ([CALL], PARENT, [executed(101, b"other")], 0, 2),
        ([CALL], PARENT, exit_of(100) + fork_of(100, 102, 0), 0, 2),
        (PYTHON, PARENT, CODES, 0, 2),
        (THREAD, CODES, THREAD_STARTS, 0, 2),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("_no_processes")
def test_what_happens_between_two_calls_is_seen(  # noqa: PLR0913, PLR0917 -- a case
    tmp_path: Path,
    call: list[bytes],
    start: list[bytes],
    meanwhile: list[bytes],
    seconds: int,
    changes: int,
) -> None:
    steps: list[Step] = [(start, 1), (meanwhile, 1), ([], seconds * SECOND), ([], 1)]

    slow, fast = _both_ways(tmp_path, batches_of([call], steps), "full")

    assert fast == slow
    made = [one for one in slow[2] if isinstance(one, ConnectionRecord)]
    assert sum(one != other for one, other in pairwise(made)) == changes


ASK = _lookup(100, 100, NAMES[0], ADDRESSES[0], None)
ASK_ALIAS = _lookup(100, 100, NAMES[1], ADDRESSES[1], None)
ANSWERS = [dns_event(RESOLVER, b"", traits=DNS_SCOPE_ANSWERS)]


# The same of look-ups.
@pytest.mark.parametrize(
    ("call", "start", "meanwhile"),
    [
        (ASK, PARENT, [executed(100, b"other")]),
        (ASK, PARENT, [executed(101, b"other")]),
        (ASK, PARENT, exit_of(100) + fork_of(100, 102, 0)),
        (ASK, PARENT, ANSWERS),
        (ASK_ALIAS, PARENT, _lookup(100, 100, NAMES[0], ADDRESSES[0], NAMES[1])),
        ([STACK, *OWN, *ASK], PARENT, CODES),
    ],
    ids=["exec", "parent's exec", "pid again", "answers", "alias", "code"],
)
@pytest.mark.usefixtures("_no_processes")
def test_what_happens_between_two_look_ups_is_seen(
    tmp_path: Path, call: list[bytes], start: list[bytes], meanwhile: list[bytes]
) -> None:
    steps: list[Step] = [(start, 1), ([], 1), (meanwhile, 1), ([], 1)]
    name = NAMES[1] if call is ASK_ALIAS else NAMES[0]

    slow, fast = _both_ways(tmp_path, batches_of([call], steps), "full")

    assert fast == slow
    assert b'"trusted":true' in fast[0]
    # One each before `start`, before what happens, and after it; some share records.
    made = [one for one in slow[2] if isinstance(one, DnsRecord)]
    assert len({str(replace(one, count=1)) for one in made if one.name == name}) == 3


def _asked(
    ip: str = ADDRESSES[0], name: str = NAMES[0], tid: int = 100, **fields: object
) -> list[bytes]:
    return _lookup(100, tid, name, ip, None, RESOLVER, **fields)


def _over_tcp(packets: list[bytes]) -> list[bytes]:
    size = LAYOUTS["dns_event"].size
    return [
        dns_event(
            RESOLVER, struct.pack("!H", len(one) - size) + one[size:],
            tgid=100, tid=100, protocol=6, traits=DNS_BEGIN,
            flags=STRUCTS["dns_event"].from_buffer_copy(one).flags,
        )
        for one in packets
    ]  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        _asked(ADDRESSES[1]),
        _asked(name=NAMES[0].upper()),
        _asked(uid=1000),
        _asked(tid=101),
        _asked(comm=b"other"),
        _asked(start_ns=2),
        _asked(exec_id=1),
        _asked(netns=2),
        _asked(flags=FLAG_STACK_LOST),
        _asked(flags=FLAG_OWNERLESS),
        _asked(traits=DNS_SCOPE_RECEIVES),
        _lookup(100, 100, NAMES[0], ADDRESSES[0], None, "192.0.2.54"),
        _asked()[:1],
        _over_tcp(_asked()),
    ],
    ids=[
        "answer", "spelling", "user", "thread", "name of the thread", "process",
        "program", "namespace", "stack lost", "no owner", "scope receives", "server",
        "no answer", "TCP",
    ],
)  # fmt: skip
@pytest.mark.usefixtures("_no_processes")
def test_look_ups_that_differ_in_one_thing_are_told_apart(
    tmp_path: Path, other: list[bytes]
) -> None:
    start = Batch(PARENT, [], 0)

    slow, fast = _both_ways(tmp_path, [start, Batch((ASK + other) * 4, [], 0)], "full")

    assert fast == slow
    made = [one for one in slow[2] if isinstance(one, DnsRecord)]
    assert len({str(replace(one, count=1)) for one in made}) == 2


# A pointer may lead into the header, where the message's number is: here it is the
# length of the name's first label.
@pytest.mark.usefixtures("_no_processes")
def test_names_that_begin_with_the_message_s_number_are_told_apart(
    tmp_path: Path,
) -> None:
    rest = b"\1\1\0\0\1\0\0\0\0\0\0\xc0\0\0\1\0\1"
    asked = [dns_event(RESOLVER, bytes([size]) + rest) for size in (1, 2, 1, 4)]

    slow, fast = _both_ways(tmp_path, [Batch(asked, [], 0)], "process")

    assert fast == slow
    assert len({one.name for one in slow[2] if isinstance(one, DnsRecord)}) == 3


@pytest.mark.usefixtures("_no_processes")
def test_repeated_look_ups_are_rendered_once(tmp_path: Path) -> None:
    policy = Policy(version=1, dns=Dns(queries="any"))
    replay = Replay(tmp_path / "e.jsonl", remembers=True, policy=policy)
    made: list[Record] = []
    prepare = replay.recorder.prepare

    def counting(record: Record) -> Rendered:
        made.append(record)
        return prepare(record)

    replay.recorder.prepare = counting  # type: ignore[method-assign]

    replay.process([Batch(ASK * 50, [], 0)])

    assert len(made) == 2
    assert replay.finish().count(b'"type":"dns"') == 50
    assert replay.tally.queries == {"allowed": 50}


@pytest.mark.usefixtures("_no_processes")
def test_tasks_of_other_creators_are_told_apart(tmp_path: Path) -> None:
    calls = [
        [*OWN, *frames_of(100, 100, made, 1, 0, "FRAMES_WHOLE"), CALL]
        for made in ((1,), (2,))
    ]

    slow, fast = _both_ways(tmp_path, batches_of(calls, [(CODES, 1), ([], 1)]), "full")

    assert fast == slow
    made = [one for one in slow[2] if isinstance(one, ConnectionRecord)]
    assert all(one != other for one, other in pairwise(made[6:]))


@pytest.mark.usefixtures("_no_processes")
def test_each_process_has_the_frames_that_started_it(tmp_path: Path) -> None:
    call = [*STARTED, *exit_of(100), *fork_of(100, 101, 0), *PYTHON]

    slow, fast = _both_ways(tmp_path, batches_of([call], []), "full")

    assert fast == slow


@pytest.mark.usefixtures("_no_processes")
def test_who_listens_is_asked_each_time(tmp_path: Path) -> None:
    ask = flow("127.0.0.1", 443, receiver=CONSTANTS["RECEIVER_ASK"])

    slow, fast = _both_ways(tmp_path, [Batch([ask] * 9, [], 0)], "process")

    assert fast == slow
    assert len({str(one) for one in slow[2]}) == 2


@pytest.mark.usefixtures("_no_processes")
def test_a_call_whose_frames_are_forgotten_is_told_apart(tmp_path: Path) -> None:
    without = flow("203.0.113.9", 443, frames_ns=5)
    batches = [Batch([CALL, CALL, CALL, without, without, CALL, without], [], 0)]

    slow, fast = _both_ways(tmp_path, batches, "full")

    assert fast == slow
    assert len({str(one) for one in slow[2]}) == 2


@pytest.mark.usefixtures("_no_processes")
def test_repeated_calls_are_rendered_once(tmp_path: Path) -> None:
    replay = Replay(tmp_path / "e.jsonl", remembers=True)
    made: list[Flow] = []
    record = replay.pipeline.connections.record

    def counting(flow: Flow) -> ConnectionRecord:
        made.append(flow)
        return record(flow)

    replay.pipeline.connections.record = counting  # type: ignore[method-assign]

    replay.process([Batch([CALL] * 50, [], 0)])

    assert len(made) == 2
    assert replay.finish().count(b'"type":"connection"') == 50
    assert replay.tally.connections == {"violation": 50}


@pytest.mark.usefixtures("_no_processes")
def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    replay = Replay(tmp_path / "e.jsonl", remembers=True)
    many = [flow(f"203.0.{one >> 8}.{one & 255}", 443) for one in range(6000)]

    replay.process([Batch([*many, *many, *many], [], 0)])

    kept = replay.pipeline.repeated
    assert kept is not None
    assert kept.size == 4096
    assert replay.finish().count(b'"type":"connection"') == 18000
