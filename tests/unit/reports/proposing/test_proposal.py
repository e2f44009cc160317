"""What a summary proposes can be pasted, is accepted, and makes the same run clean."""

import ipaddress
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.evidence.records.traffic import ConnectionRecord, DnsRecord, NameRecord
from egressmon.naming.names import Resolver, trusted_resolvers
from egressmon.policy.judging.judge import Judge
from egressmon.policy.judging.questions import Destination, Origin
from egressmon.policy.language.model import Policy
from egressmon.policy.language.search import SearchList
from egressmon.policy.reading.file import LoadedPolicy, load_policy
from egressmon.policy.reading.place import PolicyFile
from egressmon.reports.proposing.entries import is_host
from egressmon.reports.proposing.needs import Needs
from egressmon.reports.proposing.proposal import Proposal, propose, texts
from egressmon.reports.writing.toml_text import Table, toml_lines
from egressmon.values import replace
from support.reported import connection, look_up

RESOLVER = Resolver((ipaddress.ip_address("127.0.0.1"),), SearchList(("corp.test",)))
FILE = Path("/src/egress.toml")


def loaded(text: str | None, path: Path = FILE) -> LoadedPolicy:
    """Return the policy in `text`, as if read from `path`; None: there is none."""
    return load_policy(None if text is None else PolicyFile(path, text.encode()))


def proposed(policy: LoadedPolicy, *records: ConnectionRecord | DnsRecord) -> Proposal:
    """Return what is proposed after a run that made `records`."""
    needs = Needs()
    for record in records:
        needs.add(record)
    found = propose(needs, policy, RESOLVER)
    assert found is not None
    return found


def pasted(policy: LoadedPolicy, found: Proposal, width: int | None = None) -> Policy:
    """Return the policy with what is proposed, as a reader would paste it."""
    assert not found.keys
    lines = [
        f"    {line}"
        for _, tables in texts(found)
        for one in tables
        for line in toml_lines(one, width)
    ]
    assert width is None or all(len(line) <= width + 4 for line in lines)
    whole = loaded("\n".join([policy.text, *lines]), policy.path or FILE)
    assert isinstance(whole.policy, Policy)
    return whole.policy


def is_clean(policy: Policy, *records: ConnectionRecord | DnsRecord) -> bool:
    """Tell whether none of `records` violates the policy."""
    judge = Judge(policy, trusted_resolvers(policy, RESOLVER), RESOLVER.search)
    for one in records:
        if isinstance(one, DnsRecord):
            assert one.name is not None
            verdict = judge.query(one.name, ipaddress.ip_address(one.resolver))
        else:
            address = ipaddress.ip_address(one.dst.ip)
            names = tuple(name.name for name in one.dst.names)
            target = Destination(address, one.dst.port, one.protocol, names)
            verdict = judge.connection(target, Origin(bypass=one.bypass))
        if verdict.word == "violation":
            return False
    return True


LABEL = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", fullmatch=True)
NAME = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
ODD = st.sampled_from(
    ["", "*.test", "a b", "1.2.3", "x\n[[allow]]", "::error", "é.test"]
)
ADDRESS = st.ip_addresses().map(str)
PORT = st.integers(1, 65535)


def _made(ip: str, names: list[str], port: int, protocol: str) -> ConnectionRecord:
    has_port = protocol != "icmp"
    return connection(ip, *names, port=port if has_port else None, protocol=protocol)


CONNECTION = st.builds(
    _made,
    ADDRESS.filter(lambda ip: not ip.startswith("::ffff:")),
    st.lists(NAME | ODD, max_size=3),
    PORT,
    st.sampled_from(["tcp", "udp", "icmp", "sctp"]),
)
LOOK_UP = NAME.filter(is_host).map(look_up)
POLICY = st.sampled_from(
    [
        None,
        "version = 1\n",
        'version = 1\n[[allow]]\nhost = "one.example.test"\nports = [1]\n',
        "[tool.egressmon]\nversion = 1\n",
    ]
)


@given(POLICY, st.lists(CONNECTION, min_size=1, max_size=8), st.integers(36, 200))
def test_what_is_pasted_makes_the_same_run_clean(
    text: str | None, made: list[ConnectionRecord], width: int
) -> None:
    project = text is not None and text.startswith("[tool.")
    policy = loaded(text, Path("/src/pyproject.toml") if project else FILE)

    found = proposed(policy, *made)

    assert (found.more, found.refused, found.is_inline) == (0, 0, False)
    assert is_clean(pasted(policy, found), *made)
    assert pasted(policy, found, width) == pasted(policy, found)


@given(st.lists(LOOK_UP, min_size=1, max_size=8), st.integers(36, 200))
def test_names_that_were_looked_up_are_proposed(
    asked: list[DnsRecord], width: int
) -> None:
    policy = loaded(None)

    found = proposed(policy, *asked)

    assert found.refused == 0
    assert is_clean(pasted(policy, found, width), *asked)


def test_one_entry_is_enough_for_a_name_and_its_look_ups() -> None:
    host = "api.example.test"

    found = proposed(
        loaded(None),
        connection("192.0.2.1", host, port=80),
        connection("192.0.2.2", host, port=443),
        look_up(host),
        look_up(f"{host}.corp.test"),
    )

    assert found.tables == [
        Table("", [("version", 1)]),
        Table("[[allow]]", [("host", host), ("ports", [80, 443])]),
    ]


def test_a_table_that_the_file_has_is_told_apart() -> None:
    policy = loaded('version = 1\n[dns]\nnames = ["old.example.test"]\n')

    found = proposed(policy, look_up("new.example.test"))

    names = ["old.example.test", "new.example.test"]
    assert found.tables == []
    assert found.keys == [("[dns]", Table("", [("names", names)]))]
    assert [said for said, _ in texts(found)] == ["in its [dns], write:"]


def test_a_resolver_that_is_not_trusted_is_proposed_beside_the_others() -> None:
    asked = look_up(
        "api.example.test",
        resolver="192.0.2.53",
        rule="dns.resolvers",
        reason="192.0.2.53 is not a trusted resolver",
    )
    sent = connection("192.0.2.53", port=53, protocol="udp")
    policy = loaded("version = 1\n")

    found = proposed(policy, asked, sent)

    assert is_clean(pasted(policy, found), asked)
    (dns,) = found.tables
    assert dns.keys[0] == ("resolvers", ["127.0.0.1", "192.0.2.53"])


def test_peers_that_connected_are_proposed_for_accept() -> None:
    found = proposed(loaded(None), connection("192.0.2.9", op="accept"))

    assert found.tables[1:] == [Table("[accept]", [("from", ["192.0.2.9"])])]


# An entry beside it would undo what the reviewer wrote.
@pytest.mark.parametrize(
    "refusal",
    [
        '[[allow]]\nhost = "api.example.test"\nby = {package = ["grpcio"]}\n',
        'bypass = "violation"\n',
    ],
)
def test_no_entry_is_proposed_for_what_the_policy_refuses(refusal: str) -> None:
    policy = loaded(f"version = 1\n{refusal}")

    found = proposed(policy, connection("192.0.2.1", "api.example.test"))

    assert (found.tables, found.refused) == ([], 1)
    ((said, _),) = texts(found)
    assert said.startswith("no entry can allow 1 of these: the reasons say why")


# Each of them has an entry, as any may have been meant.
def test_a_connection_that_is_refused_by_two_names_is_one() -> None:
    policy = loaded('version = 1\nbypass = "violation"\n')
    asked = ("one.example.test", "two.example.test")
    made = connection("192.0.2.1")
    names = [NameRecord(name, "dns", "process") for name in asked]
    made = replace(made, dst=replace(made.dst, names=names))

    found = proposed(policy, *map(look_up, asked), made)

    assert (found.tables, found.refused) == ([], 1)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (None, "unreadable message"),
        ("api.example.test", "8 bytes behind the message"),
        ("*.example.test", "no allow entry covers *.example.test"),
    ],
)
def test_no_name_is_proposed_for_what_is_no_plain_question(
    name: str | None, reason: str
) -> None:
    found = proposed(loaded("version = 1\n"), look_up(name, reason=reason))

    assert (found.tables, found.refused) == ([], 1)


def test_a_list_of_entries_is_not_continued_by_tables() -> None:
    policy = loaded('version = 1\nallow = [{host = "a.example.test"}]\n')

    found = proposed(policy, connection("192.0.2.1"))

    ((said, _),) = texts(found)
    assert said == "to allow this, add to the list `allow` of /src/egress.toml:"


def test_what_is_too_much_is_counted() -> None:
    found = proposed(loaded(None), *(connection(f"192.0.2.{n}") for n in range(50)))

    assert found.more == 30
    assert "30 more are needed: see egressmon learn -- COMMAND" in dict(texts(found))


def test_a_long_name_is_one_value_in_a_narrow_terminal() -> None:
    name = ".".join(["a" * 63] * 3 + ["b" * 61])

    lines = list(toml_lines(Table("[[allow]]", [("host", name)]), 36))

    assert max(map(len, lines)) <= 36
    assert tomllib.loads("\n".join(lines)) == {"allow": [{"host": name}]}
