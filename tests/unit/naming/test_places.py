"""What one container looked up names nothing in another, nor on the machine."""

import ipaddress

import dns.message
import dns.rrset
import pytest

from egressmon.attribution.existing import Existing
from egressmon.attribution.processes import Processes
from egressmon.attribution.result import unknown
from egressmon.clock import Clock
from egressmon.events.model import (
    DNS_LOOPBACK,
    DNS_SCOPE_ANSWERS,
    DNS_SCOPE_RECEIVES,
    DNS_TRANSLATED,
    FLAG_CANARY,
    FLAG_INGRESS,
    CgroupChanged,
)
from egressmon.evidence.records import Record
from egressmon.evidence.records.traffic import ConnectionRecord, DnsRecord, PlaceRecord
from egressmon.faults import Faults
from egressmon.naming.names import Names
from egressmon.naming.place_files import MACHINES, PlaceFiles
from egressmon.policy.judging.judge import Judge
from egressmon.policy.language.model import Allow, Dns, Policy
from egressmon.policy.language.search import SearchList
from egressmon.runs.assemble import Knowledge, Wiring, assemble
from egressmon.sensor.canary import CanaryWatch, make_plan
from support.events import dns as dns_event
from support.events import flow

HOME, A, B = 1, 2, 3
RESOLVER, EMBEDDED, STUB = "192.0.2.53", "127.0.0.11", "127.0.0.53"
GATEWAY = "198.51.100.1"
FOREIGN, X = "198.51.100.53", "203.0.113.9"
NAME = "api.example.org"
POLICY = Policy(version=1, allow=(Allow(host=NAME),))
BY_STUB = DNS_LOOPBACK | DNS_SCOPE_RECEIVES
ENGINE, FAKE = 7, 8
"""The pids of an engine that was there before, and of another process."""


class Machine:
    """A run that watches the whole machine; its own network namespace is HOME."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.files: dict[int, PlaceFiles] = {}
        self.names, self.looks = Names(), 0
        canaries = CanaryWatch()
        canaries.begin(make_plan())
        self.processes = processes = Processes(proc_is_ours=False)
        processes.add_existing([_existing(ENGINE, "dockerd")], {})
        trusted = frozenset(map(ipaddress.ip_address, (RESOLVER, STUB)))
        self.pipeline = assemble(
            Wiring(
                Judge(POLICY, trusted),
                Knowledge(self.names, processes, canaries),
                who_listens=lambda _a, _b, _c: "nobody",
                before_unnamed=lambda: None,
                attribute=lambda _: unknown("a test"),
                attributor=None,
                clock=Clock(),
                faults=Faults(),
                sink=lambda record, _: self.records.append(record),
                look=self._look,
                may_translate=True,
                is_machine=True,
            )
        )
        self.feed(flow("127.0.0.1", 9, flags=FLAG_CANARY, netns=HOME))

    def _look(self, pid: int) -> PlaceFiles:
        self.looks += 1
        return self.files.get(pid, PlaceFiles(reasons=("a test",)))

    def feed(self, *events: bytes) -> "Machine":
        self.pipeline.feed(events)
        return self

    def connect(self, netns: int, **fields: object) -> ConnectionRecord:
        self.feed(flow(X, 443, "KIND_CONNECT", netns=netns, **fields))
        record = self.records[-1]
        assert isinstance(record, ConnectionRecord)
        return record

    def query(self, netns: int, server: str, **fields: object) -> DnsRecord:
        self.feed(*lookup(server, netns=netns, **fields))
        record = self.records[-1]
        assert isinstance(record, DnsRecord)
        return record

    def answers(self, netns: int, server: str, pid: int) -> None:
        """Have the process send from the DNS port of the server."""
        start = _started(pid)
        fields = {"netns": netns, "tgid": pid, "start_ns": start}
        self.feed(dns_event(server, b"", traits=DNS_SCOPE_ANSWERS, **fields))

    def places(self) -> list[PlaceRecord]:
        return [one for one in self.records if isinstance(one, PlaceRecord)]


def _existing(pid: int, comm: str) -> Existing:
    return Existing(
        pid, 1, 0, comm, _started(pid) // 10_000_000, None, is_there=False,
        arguments=None, mounts=1, users=1, is_machines=True,
    )  # fmt: skip


def _started(pid: int) -> int:
    return 1000 * 10_000_000 if pid == ENGINE else 1


def lookup(server: str, **fields: object) -> list[bytes]:
    question = dns.message.make_query(NAME, "A")
    response = dns.message.make_response(question)
    response.answer.append(dns.rrset.from_text(f"{NAME}.", 60, "IN", "A", X))
    return [
        dns_event(server, question.to_wire(), **fields),
        dns_event(server, response.to_wire(), flags=FLAG_INGRESS, **fields),
    ]


@pytest.mark.parametrize("other", [B, HOME])
def test_what_one_place_asked_names_nothing_in_another(other: int) -> None:
    machine = Machine()

    assert machine.query(A, RESOLVER).trusted
    mine, others = machine.connect(A), machine.connect(other)

    assert (mine.verdict, mine.dst.names[0].name, mine.place) == ("allowed", NAME, 1)
    assert (others.verdict, others.dst.names) == ("violation", [])
    assert others.place == (0 if other == HOME else 2)


def test_a_server_of_a_container_names_nothing_anywhere() -> None:
    machine = Machine()

    query = machine.query(A, FOREIGN)

    assert (query.trusted, query.verdict) == (False, "violation")
    assert [machine.connect(one).verdict for one in (A, B)] == ["violation"] * 2


def test_both_may_ask() -> None:
    machine = Machine()
    for place in (A, B):
        machine.query(place, RESOLVER)

    assert [machine.connect(one).verdict for one in (A, B)] == ["allowed"] * 2


def test_another_policy_is_that_of_all_places() -> None:
    machine = Machine()
    server = ipaddress.ip_address(EMBEDDED)
    machine.files[4] = PlaceFiles(is_read=True, servers=(server,))
    for place in (A, B):
        machine.query(place, RESOLVER, tgid=4)
    assert [machine.connect(one).verdict for one in (A, B)] == ["allowed"] * 2

    trusted = frozenset({ipaddress.ip_address(RESOLVER)})
    told = machine.pipeline.judge_by(Judge(Policy(version=1), trusted), lambda: None)

    places = (HOME, A, B, 0)
    assert [machine.connect(one).verdict for one in places] == ["violation"] * 4
    assert [(one.number, one.resolvers) for one in told] == [
        (number, [EMBEDDED, RESOLVER]) for number in (1, 2)
    ]
    pinned = Policy(version=1, dns=Dns(resolvers=(RESOLVER,)))
    told = machine.pipeline.judge_by(Judge(pinned, trusted), lambda: None)
    assert [one.resolvers for one in told] == [[RESOLVER]] * 2


def test_what_the_policy_resolves_to_counts_everywhere() -> None:
    machine = Machine()
    machine.names.learn(ipaddress.ip_address(X), NAME, "policy-resolution")

    assert machine.connect(A).verdict == "allowed"


def test_the_machines_hosts_file_is_no_containers() -> None:
    machine = Machine()
    machine.names.learn(ipaddress.ip_address(X), NAME, "hosts-file")

    assert machine.connect(HOME).verdict == "allowed"
    assert machine.connect(A).verdict == "violation"


def test_what_has_no_owner_is_nowhere() -> None:
    machine = Machine()
    machine.query(HOME, RESOLVER)

    one = machine.connect(0)

    assert (one.verdict, one.place) == ("violation", None)


def test_a_place_is_told_of_once_before_what_happens_there() -> None:
    machine = Machine()
    machine.files[100] = PlaceFiles(
        servers=(ipaddress.ip_address(GATEWAY),),
        search=SearchList(("internal",), 2),
        hosts=((ipaddress.ip_address("10.9.0.2"), "db"),),
    )
    for _ in range(3):
        machine.connect(A, tid=101)

    (place,) = machine.places()
    assert (place.number, place.netns, place.pid, place.hosts) == (1, A, 100, 1)
    assert place.resolvers == [EMBEDDED, STUB, RESOLVER, GATEWAY]
    assert (place.search, place.ndots, place.reasons) == (["internal"], 2, [])
    assert machine.records.index(place) == 0
    assert machine.looks == 1


def test_a_place_whose_process_was_gone_is_looked_at_again() -> None:
    machine = Machine()
    machine.files[100] = PlaceFiles(reasons=("gone",), is_read=False)
    machine.connect(A)
    machine.connect(A)
    machine.connect(A, tgid=200)

    assert [one.reasons for one in machine.places()] == [["gone"], ["a test"]]
    for _ in range(20):
        machine.connect(B)
    assert machine.looks == 3 + 8


def test_an_engines_own_process_in_a_container_tells_nothing_of_its_files() -> None:
    machine = Machine()
    machine.files[ENGINE] = MACHINES
    for _ in range(20):
        machine.connect(A, tgid=ENGINE)
    machine.connect(A)

    assert [one.reasons for one in machine.places()] == [
        list(MACHINES.reasons),
        ["a test"],
    ]


def embedded(machine: Machine) -> None:
    machine.files[100] = PlaceFiles(servers=(ipaddress.ip_address(EMBEDDED),))


def test_dockers_resolver_names_what_it_answers() -> None:
    machine = Machine()
    embedded(machine)
    machine.answers(A, EMBEDDED, ENGINE)

    query = machine.query(A, EMBEDDED, traits=BY_STUB | DNS_TRANSLATED)

    assert (query.trusted, query.verdict) == (True, "allowed"), query.reason
    assert [machine.connect(one).verdict for one in (A, B)] == ["allowed", "violation"]


def test_a_container_that_plays_dockers_resolver_names_nothing() -> None:
    machine = Machine()
    embedded(machine)
    traits = BY_STUB | DNS_TRANSLATED

    assert not machine.query(A, EMBEDDED, traits=traits).trusted  # nobody was seen
    machine.answers(A, EMBEDDED, FAKE)
    assert not machine.query(A, EMBEDDED, traits=traits).trusted
    machine.answers(A, EMBEDDED, ENGINE)
    query = machine.query(A, EMBEDDED, traits=traits)

    assert "the scope itself sent" in query.reason
    assert machine.connect(A).verdict == "violation"


def test_what_an_engines_resolver_is_told_by_a_chosen_server_is_not_believed() -> None:
    machine = Machine()
    embedded(machine)
    machine.connect(A)
    machine.answers(A, EMBEDDED, ENGINE)
    asked = machine.query(A, FOREIGN, tgid=ENGINE, start_ns=_started(ENGINE), cookie=9)

    query = machine.query(A, EMBEDDED, traits=BY_STUB | DNS_TRANSLATED)

    assert asked.verdict == "violation"
    assert FOREIGN in query.reason
    assert machine.connect(A).verdict == "violation"


def bridge(machine: Machine) -> None:
    machine.files[100] = PlaceFiles(servers=(ipaddress.ip_address(GATEWAY),))


def test_an_engines_server_on_a_bridge_names_what_it_answers() -> None:
    machine = Machine()
    bridge(machine)
    machine.connect(A)
    machine.answers(HOME, GATEWAY, ENGINE)

    query = machine.query(A, GATEWAY)

    assert (query.trusted, query.verdict) == (True, "allowed"), query.reason
    assert [machine.connect(one).verdict for one in (A, B)] == ["allowed", "violation"]


def test_who_was_not_seen_to_answer_at_a_bridge_names_nothing() -> None:
    machine = Machine()
    bridge(machine)

    query = machine.query(A, GATEWAY)  # by NAT to a container, perhaps

    assert not query.trusted
    assert "is not known to be the machine's own service" in query.reason
    assert machine.connect(A).verdict == "violation"


@pytest.mark.parametrize("first", [ENGINE, FAKE])
def test_a_container_that_answers_from_a_bridges_address_names_nothing(
    first: int,
) -> None:
    machine = Machine()
    bridge(machine)
    for pid in (first, ENGINE + FAKE - first):
        machine.answers(HOME, GATEWAY, pid)

    assert not machine.query(A, GATEWAY).trusted
    assert machine.connect(A).verdict == "violation"


def test_what_an_engines_server_asked_of_a_chosen_one_is_not_believed() -> None:
    machine = Machine()
    bridge(machine)
    engine = {"tgid": ENGINE, "start_ns": _started(ENGINE), "cookie": 9}
    # Its question alone is enough: how it is answered may be made unreadable.
    machine.feed(lookup(FOREIGN, netns=HOME, **engine)[0])
    machine.answers(HOME, GATEWAY, ENGINE)

    query = machine.query(A, GATEWAY)

    assert FOREIGN in query.reason
    assert machine.connect(A).verdict == "violation"


def test_where_a_service_of_the_machines_was_seen_to_answer_all_may_ask() -> None:
    machine = Machine()
    machine.files[100] = PlaceFiles(reasons=("gone",), is_read=False)
    machine.connect(A)
    machine.answers(HOME, GATEWAY, FAKE)
    machine.answers(A, GATEWAY, ENGINE)  # at an address of the container's own
    assert machine.query(A, GATEWAY).verdict == "violation"

    machine = Machine()
    machine.files[100] = PlaceFiles(reasons=("gone",), is_read=False)
    machine.connect(A)
    machine.answers(HOME, GATEWAY, ENGINE)

    assert machine.query(A, GATEWAY).trusted
    assert machine.query(B, GATEWAY).trusted
    assert [GATEWAY in one.resolvers for one in machine.places()] == [
        False,
        True,
        True,
    ]
    assert [one.number for one in machine.places()] == [1, 1, 2]


def test_the_machines_own_stub_is_believed_if_it_was_there_before() -> None:
    machine = Machine()

    assert not machine.query(HOME, STUB, traits=BY_STUB).trusted
    machine.answers(HOME, STUB, ENGINE)
    assert machine.query(HOME, STUB, traits=BY_STUB).trusted
    assert machine.connect(HOME).verdict == "allowed"


def test_places_are_bounded() -> None:
    machine = Machine()
    machine.query(A, RESOLVER)
    for netns in range(1000, 1600):
        machine.connect(netns)

    again = machine.connect(A)

    assert (again.verdict, again.place) == ("violation", 602)


def test_containers_that_share_a_network_are_places_of_their_own() -> None:
    machine = Machine()
    machine.processes.containers = _Containers()
    machine.query(HOME, RESOLVER, cgroup=70)

    made = [machine.connect(HOME, cgroup=one) for one in (70, 71, 0)]

    assert [one.verdict for one in made] == ["allowed", "violation", "violation"]
    assert [one.place for one in made] == [1, 2, 0]
    assert [one.container for one in machine.places()] == ["c70", "c71"]


def test_what_an_engine_asks_in_a_network_is_asked_for_all_containers_there() -> None:
    machine = Machine()
    machine.processes.containers = _Containers()
    machine.connect(A, cgroup=70)
    machine.answers(A, EMBEDDED, ENGINE)
    machine.query(A, FOREIGN, tgid=ENGINE, start_ns=_started(ENGINE), cookie=9)

    query = machine.query(A, EMBEDDED, traits=BY_STUB | DNS_TRANSLATED, cgroup=70)

    assert FOREIGN in query.reason


class _Containers:
    """Takes each cgroup for a container."""

    def on_change(self, event: CgroupChanged) -> None:
        """Have nothing to follow."""

    def key_of(self, cgroup: int, *, inside: str | None) -> str | None:
        """Return the cgroup's own key."""
        assert inside is None
        return f"c{cgroup}" if cgroup else None
