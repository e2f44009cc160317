"""Policies: what a file may say, which errors are reported, and how it judges."""

import copy
import datetime as dt
import ipaddress
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from egressmon.evidence.schema import POLICY_FILE, text
from egressmon.policy.errors import PolicyError, RefusedError
from egressmon.policy.judging.judge import Judge
from egressmon.policy.judging.pointers import pointed_address
from egressmon.policy.judging.questions import (
    Asked,
    Claimed,
    Destination,
    Listener,
    Origin,
)
from egressmon.policy.language.default import DEFAULT
from egressmon.policy.language.drift import Count, Drift
from egressmon.policy.language.model import Allow, Dns, Local, Policy
from egressmon.policy.language.names import covers, parse_host_pattern
from egressmon.policy.language.search import SearchList
from egressmon.policy.reading.file import find_policy, load_policy
from egressmon.policy.reading.lines import line_of
from egressmon.policy.reading.problems import explained
from egressmon.policy.reading.table import schema

RESOLVER = ipaddress.ip_address("192.0.2.53")
PEER = "203.0.113.9"


def judge(*allow: dict[str, object], **tables: object) -> Judge:
    entries = tuple(map(Allow.model_validate, allow))
    policy = Policy.model_validate({"version": 1, "allow": entries, **tables})
    return Judge(policy, frozenset({RESOLVER}), SearchList(("corp.example",)))


def to(
    *names: str,
    ip: str = PEER,
    port: int | None = 443,
    protocol: str = "tcp",
    listener: Listener | None = None,
) -> Destination:
    return Destination(ipaddress.ip_address(ip), port, protocol, names, listener)


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("example.org", "example.org", True),
        ("example.org", "a.example.org", False),
        ("example.org", "evilexample.org", False),
        ("*.example.org", "a.example.org", True),
        ("*.example.org", "a.b.example.org", False),
        ("*.example.org", "example.org", False),
        ("*.example.org", ".example.org", False),
        ("*.example.org", "evilexample.org", False),
        ("**.example.org", "a.b.example.org", True),
        ("**.example.org", "example.org", False),
        ("**.example.org", "evilexample.org", False),
        ("**.example.org", ".example.org", False),
        ("storage.*.azure.com", "storage.west.azure.com", True),
        ("storage.*.azure.com", "storage.azure.com", False),
        ("storage.*.azure.com", "storage.a.b.azure.com", False),
        ("storage.*.azure.com", "other.west.azure.com", False),
        ("storage.*.azure.com", "storage..azure.com", False),
        ("*.storage.*.azure.com", "x.storage.west.azure.com", True),
        ("**.storage.*.azure.com", "a.b.storage.west.azure.com", True),
        ("**.storage.*.azure.com", "storage.west.azure.com", False),
    ],
)
def test_patterns(pattern: str, name: str, *, covered: bool) -> None:
    assert covers(pattern, name) is covered


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("API.Example.ORG.", "api.example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("*.Example.org", "*.example.org"),
        ("Storage.*.Azure.com.", "storage.*.azure.com"),
        ("**.*.b\xfccher\uff0eexample", "**.*.xn--bcher-kva.example"),
        ("_dmarc.example.org", "_dmarc.example.org"),
        ("\uff45xample\uff0eorg", "example.org"),
        ("1.2.3.example", "1.2.3.example"),
        ("4.3.2.1.in-addr.arpa", "4.3.2.1.in-addr.arpa"),
        ("a.1x", "a.1x"),
        ("a.0xg", "a.0xg"),
    ],
)
def test_host_entries_become_canonical(text: str, canonical: str) -> None:
    assert parse_host_pattern(text) == canonical


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("https://example.org", "host name alone"),
        ("example.org/path", "has a path"),
        ("example.org:443", r"ports = \[443\]"),
        ("192.0.2.1", "write cidr"),
        ("2001:db8::1", "write cidr"),
        ("a*.example.org", r"write \*\.example"),
        ("example.*", "not the last"),
        ("example.*.org", "top-level domain"),
        ("**.example.*", "not the last"),
        ("a.**.example.org", r"\*\*\.example\.org"),
        ("*.org", "top-level domain"),
        ("exa mple.org", "not a host name"),
        ("", "no name is given"),
        ("a" * 64 + ".org", "not a host name"),
        ("*", "not the last"),
        ("1.2", "ends in a number"),
        ("1.2.3", "ends in a number"),
        ("1.2.3.", "ends in a number"),
        ("10", "ends in a number"),
        ("256.1.1.1", "ends in a number"),
        ("example.0x7F", "ends in a number"),
        ("0x7f.1", "ends in a number"),
        ("example.0x", "ends in a number"),
        ("*.1.2", "ends in a number"),
        ("**.example.7", "ends in a number"),
        ("192.0.2.1.", r"write cidr = '192\.0\.2\.1'"),
        ("\uff11.\uff12", "ends in a number"),
        ("example.\uff10\uff58\uff17\uff46", "ends in a number"),
        ("\uff11.\uff12.\uff13.\uff14", r"write cidr = '1\.2\.3\.4'"),
        ("1\uff0e2\u30023.4", r"write cidr = '1\.2\.3\.4'"),
        ("\u0661.\u0662", "not a"),
    ],
)
def test_other_host_entries_say_what_to_write(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        parse_host_pattern(text)


@given(st.text(max_size=80))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    try:
        pattern = parse_host_pattern(text)
    except ValueError:
        return
    assert parse_host_pattern(pattern) == pattern


def test_an_allow_entry_needs_host_port_and_protocol() -> None:
    rules = judge({"host": "api.example.org", "reason": "model calls"})

    allowed = rules.connection(to("api.example.org"))

    assert (allowed.word, allowed.rule) == ("allowed", "allow[0]")
    assert allowed.reason == "api.example.org matches api.example.org: model calls"
    assert rules.connection(to("api.example.org", port=80)).word == "violation"
    other = to("api.example.org", protocol="udp")
    assert rules.connection(other).word == "violation"
    assert rules.connection(to("evil.example.org")).reason == (
        "no allow entry covers evil.example.org:443/tcp"
    )
    assert rules.connection(to()).reason == f"no allow entry covers {PEER}:443/tcp"


def test_any_of_several_names_is_enough() -> None:
    rules = judge({"host": "b.example.org"})

    assert rules.connection(to("a.example.org", "b.example.org")).word == "allowed"


def test_ranges() -> None:
    rules = judge({"cidr": "203.0.113.0/24", "ports": [5432], "protocol": "any"})

    assert rules.connection(to(port=5432)).word == "allowed"
    assert rules.connection(to(port=5432, protocol="udp")).word == "allowed"
    assert rules.connection(to(port=5433)).word == "violation"
    assert rules.connection(to(ip="203.0.114.1", port=5432)).word == "violation"
    assert rules.connection(to(ip="2001:db8::1", port=5432)).word == "violation"


@pytest.mark.parametrize("protocol", ["icmp", "icmpv6"])
def test_an_entry_for_icmp_allows_nothing_else(protocol: str) -> None:
    ping, raw = to(port=None, protocol=protocol), to(port=None, protocol="raw")
    only: dict[str, object] = {"cidr": PEER, "protocol": "icmp"}
    every: dict[str, object] = {"cidr": PEER, "protocol": "any"}

    assert judge({"cidr": PEER}).connection(ping).word == "violation"
    assert judge(every).connection(ping).word == "allowed"
    assert judge(only).connection(ping).word == "allowed"
    for other in (to(), to(protocol="udp"), raw):
        assert judge(only).connection(other).word == "violation"
    assert judge(every, deny=[only]).connection(ping).rule == "deny[0]"
    assert judge(every, deny=[only]).connection(to()).word == "allowed"


def test_an_entry_for_sctp_allows_nothing_else() -> None:
    rules = judge({"cidr": PEER, "protocol": "sctp", "ports": [5000]})

    assert rules.connection(to(port=5000, protocol="sctp")).word == "allowed"
    assert rules.connection(to(port=5000)).word == "violation"


@pytest.mark.parametrize(
    ("ports", "inside", "outside"),
    [
        ("any", [1, 443, 65535], []),
        ([443, "8000-8100"], [443, 8000, 8050, 8100], [442, 7999, 8101]),
        (["1-65535"], [1, 65535], []),
    ],
)
def test_ports_are_numbers_and_ranges_or_any(
    ports: object, inside: list[int], outside: list[int]
) -> None:
    rules = judge({"cidr": PEER, "ports": ports})

    assert {rules.connection(to(port=port)).word for port in inside} == {"allowed"}
    for port in outside:
        assert rules.connection(to(port=port)).word == "violation"


@given(st.integers(1, 65535), st.integers(1, 65535), st.integers(1, 65535))
def test_a_range_of_ports_has_both_its_ends(low: int, high: int, port: int) -> None:
    try:
        rules = judge({"cidr": PEER, "ports": [f"{low}-{high}"]})
    except ValidationError:
        assert low > high
        return
    allowed = rules.connection(to(port=port)).word == "allowed"
    assert allowed == (low <= port <= high)


def test_a_denial_wins_over_all_that_allows() -> None:
    rules = judge(
        {"host": "**.example.org"},
        {"cidr": "0.0.0.0/0", "ports": "any"},
        deny=[
            {"host": "*.bad.example.org", "reason": "no telemetry"},
            {"cidr": "203.0.113.64/26", "ports": [25]},
            {"cidr": "127.0.0.9/32"},
        ],
        dns={"queries": "any"},
        local={"listeners": "any"},
    )

    denied = rules.connection(to("a.bad.example.org"))
    assert (denied.word, denied.rule) == ("violation", "deny[0]")
    assert denied.reason == (
        "denied: a.bad.example.org matches *.bad.example.org: no telemetry"
    )
    assert rules.connection(to("a.example.org")).word == "allowed"
    assert rules.connection(to(ip="203.0.113.65", port=25)).rule == "deny[1]"
    assert rules.connection(to(ip="203.0.113.65", port=26)).word == "allowed"
    near = to(ip="127.0.0.9", listener="scope")
    assert rules.connection(near).rule == "deny[2]"
    assert rules.query("a.bad.example.org", RESOLVER).rule == "deny[0]"
    assert rules.query("a.bad.example.org.corp.example", RESOLVER).rule == "deny[0]"
    assert rules.query("a.example.org", RESOLVER).word == "allowed"


def test_a_name_whose_alias_is_denied_is_denied() -> None:
    rules = judge(
        {"host": "metrics.example.org"}, deny=[{"host": "**.tracker.example"}]
    )
    target = Destination(
        ipaddress.ip_address(PEER),
        443,
        "tcp",
        ("metrics.example.org",),
        targets=("eu.tracker.example",),
    )

    assert rules.connection(target).rule == "deny[0]"


def test_what_covers_a_name_covers_what_it_is_an_alias_for() -> None:
    rules = judge({"host": "www.example.org"})
    target = Destination(
        ipaddress.ip_address(PEER),
        443,
        "tcp",
        ("edge.cdn.example",),
        origins=("www.example.org",),
    )

    assert rules.connection(target).rule == "allow[0]"
    led = rules.query("edge.cdn.example", RESOLVER, Asked(("www.example.org",)))
    assert (led.word, led.rule) == ("allowed", "allow[0]")
    other = rules.query("edge.cdn.example", RESOLVER, Asked(("evil.example",)))
    assert other.word == "violation"


def test_a_short_name_covers_what_the_search_list_makes_of_it() -> None:
    rules = judge({"host": "db", "ports": [5432]})

    found = rules.connection(to("db.corp.example", port=5432))

    assert (found.word, found.reason) == ("allowed", "db (db.corp.example) matches db")
    assert rules.query("db.corp.example", RESOLVER).word == "allowed"
    assert rules.connection(to("db.evil.example", port=5432)).word == "violation"
    assert rules.connection(to("x.db.corp.example", port=5432)).word == "violation"


def test_a_whole_name_is_completed_only_if_there_is_none() -> None:
    rules = judge({"host": "api.example.org"}, {"host": "*.example.org"})
    completed = to("api.example.org.corp.example")
    absent = replace(completed, absent=("api.example.org",))
    other = replace(to("b.example.org.corp.example"), absent=("b.example.org",))

    assert rules.connection(completed).word == "violation"
    assert rules.connection(absent).rule == "allow[0]"
    assert rules.connection(other).word == "violation"  # anybody finds one like it
    assert rules.query("api.example.org.corp.example", RESOLVER).word == "allowed"


def test_what_is_denied_is_denied_below_the_search_domains() -> None:
    rules = judge({"cidr": f"{PEER}/32"}, deny=[{"host": "api.example.org"}])

    assert rules.connection(to("api.example.org.corp.example")).rule == "deny[0]"


def test_with_more_ndots_longer_names_are_short() -> None:
    policy = Policy(version=1, allow=(Allow(host="api.prod"),))
    target = to("api.prod.corp.example")
    found = [
        Judge(policy, frozenset(), SearchList(("corp.example",), ndots)).connection(
            target
        )
        for ndots in (1, 2, 5)
    ]

    assert [one.word for one in found] == ["violation", "allowed", "allowed"]


def test_pointers_to_what_is_known_or_may_be_reached_are_allowed() -> None:
    rules = judge({"cidr": "203.0.113.0/24"}, {"cidr": "2001:db8::/32"})
    known = Asked(is_learned=True)
    six = "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2.ip6.arpa"

    assert rules.query("9.113.0.203.in-addr.arpa", RESOLVER).rule == "allow[0]"
    assert rules.query(six, RESOLVER).rule == "allow[1]"
    assert rules.query("7.2.0.192.in-addr.arpa", RESOLVER).word == "violation"
    assert rules.query("7.2.0.192.in-addr.arpa", RESOLVER, known).word == "allowed"
    for odd in ("x.7.2.0.192.in-addr.arpa", "07.2.0.192.in-addr.arpa",
                "7.2.0.999.in-addr.arpa", "2.0.192.in-addr.arpa"):  # fmt: skip
        assert rules.query(odd, RESOLVER, known).word == "violation"


@given(st.ip_addresses())
def test_every_address_is_read_back_from_its_pointer(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    assert pointed_address(address.reverse_pointer) == address


@given(
    st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6),
    st.booleans(),
)
def test_patterns_are_what_an_expression_of_labels_is(
    wanted: list[str],
    found: list[str],
    many: bool,  # noqa: FBT001 -- hypothesis
) -> None:
    pattern = ".".join((["**"] if many else []) + wanted) + ".example.org"
    name = ".".join(found) + ".example.org"
    label = r"[a-z]+"
    parts = [label if one == "*" else one for one in wanted]
    front = rf"(?:{label}\.)+" if many else ""
    expected = front + r"\.".join(parts) + r"\.example\.org"

    assert parse_host_pattern(pattern) == pattern
    assert covers(pattern, name) == bool(re.fullmatch(expected, name))


@pytest.mark.parametrize(
    ("mode", "listener", "word"),
    [
        ("scope", "scope", "local"),
        ("scope", "nobody", "local"),
        ("scope", "outside", "violation"),
        ("scope", "unknown", "violation"),
        ("any", "outside", "local"),
        ("deny", "scope", "violation"),
    ],
)
def test_loopback(mode: str, listener: Listener, word: str) -> None:
    target = to(ip="127.0.0.1", listener=listener)

    assert judge(local={"listeners": mode}).connection(target).word == word


def test_an_allow_entry_for_loopback_outranks_the_listener() -> None:
    rules = judge({"cidr": "127.0.0.0/8"}, local={"listeners": "deny"})

    target = to(ip="127.0.0.1", listener="outside")

    assert rules.connection(target).word == "allowed"


def test_the_trusted_resolver_may_be_reached() -> None:
    target = Destination(RESOLVER, 53, "udp", (), "outside")

    assert judge().connection(target).rule == "dns.resolvers"
    assert judge().connection(to(ip=str(RESOLVER))).word == "violation"


def test_queries() -> None:
    rules = judge({"host": "*.example.org"}, dns={"names": ["metrics.example.net"]})

    assert rules.query("a.example.org", RESOLVER).word == "allowed"
    assert rules.query("A.EXAMPLE.ORG.", RESOLVER).word == "allowed"
    assert rules.query("a.example.org.corp.example", RESOLVER).word == "allowed"
    assert rules.query("metrics.example.net", RESOLVER).rule == "dns.names"
    assert rules.query("localhost", RESOLVER).word == "allowed"
    assert rules.query("secret.exfil.test", RESOLVER).word == "violation"
    other = rules.query("a.example.org", ipaddress.ip_address("192.0.2.66"))
    assert (other.word, other.rule) == ("violation", "dns.resolvers")
    anything = judge(dns={"queries": "any"})
    assert anything.query("secret.exfil.test", RESOLVER).word == "allowed"


def write(folder: Path, text: str, name: str = "egress.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


FULL = """\
version = 1
enforce = "fail"

[[allow]]
host = "api.example.org"
reason = "calls"

[[allow]]
cidr = "10.20.0.0/16"
ports = [5432]
protocol = "any"

[dns]
resolvers = ["192.0.2.53", "2001:db8::53"]
queries = "any"

[local]
listeners = "deny"
"""


def test_a_whole_file(tmp_path: Path) -> None:
    loaded = load_policy(write(tmp_path, FULL))

    policy = loaded.policy
    assert policy.enforce == "fail"
    assert policy.allow[1] == Allow(cidr="10.20.0.0/16", ports=(5432,), protocol="any")
    assert policy.dns == Dns(resolvers=("192.0.2.53", "2001:db8::53"), queries="any")
    assert policy.local == Local(listeners="deny")
    assert loaded.digest is not None
    assert loaded.digest.startswith("sha256:")


def test_without_a_file_holds_what_a_file_that_says_nothing_says() -> None:
    written = Policy(version=1)

    for name in Policy.model_fields:
        found, expected = getattr(DEFAULT, name), getattr(written, name)
        if isinstance(expected, BaseModel):
            assert found._asdict() == expected.model_dump(), name
        else:
            assert found == expected, name
    assert set(DEFAULT._fields) == set(Policy.model_fields)


@pytest.mark.parametrize("text", ["tool = 1\n", "[tool]\negressmon = 1\n"])
def test_a_pyproject_without_the_table_is_no_policy(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text, "pyproject.toml")

    with pytest.raises(PolicyError, match="version: missing"):
        load_policy(path)


def test_the_table_in_pyproject_is_the_same(tmp_path: Path) -> None:
    text = '[tool.egressmon]\nversion = 1\n[[tool.egressmon.allow]]\nhost = "a.b/c"\n'
    path = write(tmp_path, text, "pyproject.toml")

    with pytest.raises(PolicyError, match=r"pyproject\.toml:4: allow\[0\]\.host: "):
        load_policy(path)


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", 1, "version: missing"),
        ("version = 2", 1, "version"),
        ("version = 1\nenforc = 'fail'", 2, "enforc: unknown key"),
        ("version = 1\nenforce = 'block'", 2, "block is not supported yet"),
        ("version = 1\n[[allow]]\nhost = 'x.org'\nport = 80", 4, "port: unknown key"),
        ("version = 1\n[[allow]]\nhost = 'x.org'\nby = {}", 4, "nothing to comp"),
        (
            "version = 1\n[[allow]]\nhost = 'x.org'\nby = { package = 'a' }",
            4,
            r"by\.package",
        ),
        (
            "version = 1\n[[allow]]\nhost = 'x.org'\nby = { route = ['sideways'] }",
            4,
            r"by\.route",
        ),
        ("version = 1\nbypass = 'fail'", 2, "bypass"),
        ("version = 1\n[[allow]]\nhost = 'x.org'\nports = []", 4, "an empty list"),
        ("version = 1\n[[allow]]\nhost = 'x.org'\nports = [0]", 4, r"ports\[0\]"),
        ("version = 1\n[[allow]]\nhost = 'x.org'\nports = ['a']", 4, r"ports\[0\]"),
        ("version = 1\n[[allow]]\nhost = 'x.org'\nports = ['443']", 4, "write 443"),
        ("version = 1\n[[allow]]\nhost = 'x.org'\nports = 443", 4, r"ports = \[443\]"),
        ("version = 1\n[[allow]]\nhost = 'x.org'\nports = ['*']", 4, 'ports = "any"'),
        ("version = 1\n[[allow]]\nhost = 'x.org'\nports = ['9-1']", 4, "low-high"),
        ("version = 1\n[[deny]]\nhost = 'x.org'\nby = {}", 4, r"deny\[0\]\.by: unkn"),
        ("version = 1\nallow = ['pypi.org:443']", 2, r"allow\[0\]: not a table"),
        ("version = 1\n[[allow]]\nports = [1]", 2, "neither host nor cidr"),
        (
            "version = 1\n[[allow]]\nhost = 'a.org'\n[[allow]]\nhost = 'h://a'",
            5,
            r"allow\[1\]\.host",
        ),
        ("version = 1\n[[allow]]\ncidr = '::ffff:10.0.0.0/104'", 3, "10.0.0.0/8"),
        ("version = 1\n[[deny]]\nports = [1]", 2, r"write host = .*, or cidr ="),
        ("version = 1\n[[allow]]\nhost = 'x.org'\ncidr = '::1'", 2, "exactly one"),
        (
            "version = 1\n[[allow]]\nhost = 'x.org'\nprotocol = 'icmp'\nports = [1]",
            2,
            "ICMP has no ports; leave ports out",
        ),
        # A mask is not a size, and whether it is of the network or of hosts is a guess.
        ("version = 1\n[[allow]]\ncidr = '10.0.0.0/0.0.0.255'", 3, "10.0.0.0/24$"),
        ("version = 1\n[[deny]]\ncidr = '10.0.0.0/255.0.0.0'", 3, "10.0.0.0/8$"),
        ("version = 1\n[accept]\nfrom = ['10.0.0.0/255.0.0.0']", 3, r"\[0\]: .*/8$"),
        ("version = 1\n[[allow]]\ncidr = '10.0.0.0/0.0.0.0'", 3, "write 192"),
        ("version = 1\n[[allow]]\ncidr = 'example.org'", 3, "write host = 'exam"),
        ("version = 1\n[accept]\nfrom = ['example.org']", 3, "write 192"),
        ("version = 1\n[accept]\nfrom = '10.0.0.0/8'", 3, r"from = \[\"192"),
        ("version = 1\n[dns]\nnames = ['192.0.2.1']", 3, "only names are looked up"),
        ("version = 1\n[dns]\nnames = ['x.org:53']", 3, "only names are looked up"),
        ("version = 1\n[dns]\nresolvers = '9.9.9.9'", 3, r"resolvers = \["),
        ("version = 1\n[dns]\nresolvers = [53]", 3, r"\[0\]: not a text"),
        ("version = 1\n[dns]\nresolvers = ['10.0.0.0/8']", 3, "no single address"),
        ("version = 1\ndns = 'system'", 2, r"write \[dns\] and below it"),
        # What could cover nothing, as peers are never written so.
        ("version = 1\n[[allow]]\ncidr = '::ffff:192.0.2.7'", 3, "192.0.2.7"),
        ("version = 1\n[[allow]]\ncidr = '::ffff:0:0/96'", 3, "judged as IPv4"),
        ("version = 1\n[[allow]]\ncidr = 'fe80::1%lo'", 3, "leave out its name"),
        ("version = 1\n[dns]\nresolvers = ['::ffff:9.9.9.9']", 3, "9.9.9.9"),
        ("version = 1\n[dns]\nresolvers = []", 3, "resolvers"),
        ("version = 1\n[dns]\n\nqueries = 'all'", 4, "queries"),
        ("version = 1\n[local]\nunix = []", 3, "not supported by this version"),
        ("version = 1\nallow = 3", 2, "allow"),
        ("version = 1\n[[allow]\n", 2, "not TOML"),
        ("version = 1\nx = 'a", 2, "not TOML"),
    ],
)
def test_errors_name_file_line_and_remedy(
    tmp_path: Path, text: str, where: int, what: str
) -> None:
    path = write(tmp_path, text)

    with pytest.raises(PolicyError) as caught:
        load_policy(path)

    said = f"{caught.value}; {caught.value.hint}"
    assert said.startswith(f"{path}:{where}: ")
    assert re.search(what, said), said
    assert caught.value.hint


def test_a_range_with_host_bits_is_taken_and_named(tmp_path: Path) -> None:
    text = """version = 1
[[allow]]
cidr = "10.0.0.1/8"
[[allow]]
cidr = "10.0.0.0/8"
[[deny]]
cidr = "2001:db8::1/32"
[accept]
from = ["192.0.2.0/24", "192.0.2.7/24", "192.0.2.7"]
"""
    path = write(tmp_path, text)

    loaded = load_policy(path)

    assert [entry.cidr for entry in loaded.policy.allow] == ["10.0.0.0/8"] * 2
    where = [one.removeprefix(f"{path}:").partition(": ") for one in loaded.remarks]
    inside = "is not the start of a range:"
    assert {line: what for line, _, what in where} == {
        "3": f"allow[0].cidr: 10.0.0.1/8 {inside} 10.0.0.0/8 counts",
        "7": f"deny[0].cidr: 2001:db8::1/32 {inside} 2001:db8::/32 counts",
        "9": f"accept.from[1]: 192.0.2.7/24 {inside} 192.0.2.0/24 counts",
    }


DRIFT_KINDS = [
    name
    for name, field in Drift.model_fields.items()
    if field.default in get_args(Count)
]
WHOLE: dict[str, Any] = {
    "version": 1,
    "enforce": "fail",
    "bypass": "report",
    "allow": [
        {
            "host": "example.org",
            "ports": [1],
            "protocol": "any",
            "reason": "1",
            "by": {
                "package": ["1"],
                "exe": ["1"],
                "module": ["1"],
                "route": ["native"],
                "claimed": True,
            },
        },
        {"cidr": "192.0.2.1"},
    ],
    "deny": [
        {"host": "example.org", "ports": [1], "protocol": "tcp", "reason": "1"},
        {"cidr": "192.0.2.1"},
    ],
    "dns": {"resolvers": ["192.0.2.1"], "queries": "any", "names": ["example.org"]},
    "local": {"listeners": "any"},
    "command": {"allow_sudo": True},
    "accept": {"from": ["192.0.2.1"]},
    "origins": {"machine": "record"},
    "layers": {"require": ["guard"]},
    "guard": {"functions": ["a.b:c"], "bypass": "violation"},
    "drift": {
        "baseline": "b.toml",
        "evidence": "e",
        "max_age_days": 3,
        "bytes_orders": 2,
        **dict.fromkeys(DRIFT_KINDS, "note"),
    },
    "native": {
        "allow": [
            {"package": "1", "version": ["1"], "reason": "1"},
            {"file": "1", "reason": "1"},
        ]
    },
}


# The path of keys and indices to each value.
def _leaves(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield way
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = list(cast("dict[str, object]", value))
    elif isinstance(value, list):
        keys = list(range(len(cast("list[object]", value))))
    for key in keys:
        yield from _leaves(value[key], (*way, key))


OTHERS: list[Any] = [
    True,
    False,
    0,
    1,
    1.0,
    "1",
    "true",
    "",
    [],
    {},
    dt.date(2026, 1, 1),
]


@pytest.mark.parametrize("way", list(_leaves(WHOLE))[1:], ids=str)
def test_no_key_accepts_a_value_of_another_type(way: tuple[Any, ...]) -> None:
    Policy.model_validate(WHOLE)
    for other in OTHERS:
        table = copy.deepcopy(WHOLE)
        inner: Any = table
        for key in way[:-1]:
            inner = inner[key]
        if type(inner[way[-1]]) is type(other):
            continue
        inner[way[-1]] = other

        with pytest.raises(ValidationError):
            Policy.model_validate(table)


@pytest.mark.parametrize("way", list(_leaves(WHOLE))[1:], ids=str)
def test_what_is_said_of_another_type_names_what_to_write(way: tuple[Any, ...]) -> None:
    others: list[Any] = [*OTHERS, "x" * 400, [""], [1], [[]]]
    for other in others:
        table = copy.deepcopy(WHOLE)
        inner: Any = table
        for key in way[:-1]:
            inner = inner[key]
        inner[way[-1]] = other
        try:
            Policy.model_validate(table)
        except ValidationError as error:
            said = explained(Path("egress.toml"), "", (), error)
            assert not re.search("[Ii]nput|valid |Error", str(said)), said
            assert "docs/policy.md" not in said.hint, said
            assert len(str(said)) < 200, said


def test_the_types_of_all_keys_are_tried() -> None:
    tried = {key for way in _leaves(WHOLE) for key in way if isinstance(key, str)}
    models = json.loads(POLICY_FILE.read_text())
    tables = [models, *models["$defs"].values()]

    assert {key for one in tables for key in one["properties"]} == tried


@pytest.mark.parametrize("version", ["true", "1.0", '"1"', "2", "0x2"])
def test_another_version_is_refused(tmp_path: Path, version: str) -> None:
    path = write(tmp_path, f"version = {version}\n")

    with pytest.raises(PolicyError, match=r"egress\.toml:1: version: ") as caught:
        load_policy(path)

    assert caught.value.hint.startswith("write version = 1")


def test_all_errors_are_named_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "version = 1\na = 1\nb = 2\n")

    with pytest.raises(PolicyError) as caught:
        load_policy(path)

    assert f"{path}:2: a" in str(caught.value)
    assert f"{path}:3: b" in str(caught.value)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"version = 1\n\xff"])
def test_a_file_that_is_no_text(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "egress.toml"
    path.write_bytes(data)

    with pytest.raises(PolicyError, match="not UTF-8"):
        load_policy(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="No such file"):
        load_policy(tmp_path / "missing.toml")
    with pytest.raises(PolicyError, match="Is a directory"):
        load_policy(tmp_path)
    big = write(tmp_path, "#" * (1 << 20 | 1))
    with pytest.raises(PolicyError, match="larger than 1 MiB"):
        load_policy(big)


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_an_error_with_a_line(text: str) -> None:
    path = Path("/dev/shm/egressmon-test.toml")  # noqa: S108 -- written and read at once
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    message = f"{path}:"
    try:
        load_policy(path)
    except PolicyError as error:
        message = str(error)
    assert message.startswith(f"{path}:")


def test_the_nearest_policy_upward_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "a/b"
    inner.mkdir(parents=True)
    write(tmp_path, "[tool.other]\n", "pyproject.toml")
    above = write(tmp_path, "version = 1\n")
    assert _found(inner) == above
    nearer = write(tmp_path / "a", "[tool.egressmon]\nversion = 1\n", "pyproject.toml")
    assert _found(inner) == nearer


def _found(start: Path) -> Path | None:
    policy = find_policy(start)
    return policy.path if policy else None


def test_lines_are_found_in_odd_layouts() -> None:
    text = "a = 1\n[ x . y ]\n'k' = 2\n[[z]]\n[[z]]\nw.v = 3 # [q]\n"

    assert line_of(text, ("x", "y", "k")) == 3
    assert line_of(text, ("z", 1, "missing")) == 5
    assert line_of(text, ("nowhere",)) == 1


def test_the_shipped_schema_is_current_and_accepts_what_we_accept() -> None:
    assert POLICY_FILE.read_text() == text(schema())
    import tomllib  # noqa: PLC0415 -- only here

    jsonschema.validate(tomllib.loads(FULL), json.loads(POLICY_FILE.read_text()))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('version = 1\n"a b" = 3\n', '2: "a b": unknown key'),
        ('version = 1\n"" = 3\n', '2: "": unknown key'),
        (r"version = 1" + "\n" + r'"##[x]\n::y" = 3', r'"##[x]\n::y": unknown key'),
        ("version = 1\nx = " + "[" * 50_000, "nested too deeply"),
        ("version = " + "9" * 5000, "not TOML"),
    ],
    ids=["blank", "empty", "command", "deep", "digits"],
)
def test_whatever_a_policy_holds_its_error_is_one_line(
    tmp_path: Path, text: str, what: str
) -> None:
    (tmp_path / "egress.toml").write_text(text)

    with pytest.raises(PolicyError, match=re.escape(what)) as raised:
        load_policy(tmp_path / "egress.toml")

    assert "\n" not in str(raised.value)


# A library that the command made can have the looks of the language's own sockets.
def test_a_claimed_route_is_not_known_to_be_no_bypass() -> None:
    strict = judge({"cidr": "192.0.2.0/24"}, bypass="violation")
    target = Destination(ipaddress.ip_address("192.0.2.1"), 443, "tcp")
    route = "python-socket"
    made_up = Claimed("route", route, "its file changed in this run")

    known = strict.connection(target, Origin(route=route, bypass=False))
    claimed = strict.connection(
        target, Origin(route=route, bypass=False, claimed=(made_up,))
    )

    assert known.word == "allowed"
    assert claimed.word == "violation"
    assert "its file changed in this run" in claimed.reason


@pytest.mark.parametrize(
    ("host", "hint"),
    [
        ("[::1]", "cidr = '::1'"),
        ("[::1]:80", "cidr = '::1', ports = [80]"),
        ("192.0.2.1:80", "cidr = '192.0.2.1', ports = [80]"),
        ("a.example:99999", "host = 'a.example', ports = [443]"),
    ],
)
def test_what_a_hint_says_to_write_in_a_hosts_place_is_taken(
    host: str, hint: str
) -> None:
    with pytest.raises(RefusedError) as caught:
        parse_host_pattern(host)

    assert caught.value.hint == f"write {hint}"


def test_a_name_ends_with_one_dot_at_most() -> None:
    assert parse_host_pattern("a.example.") == "a.example"
    with pytest.raises(RefusedError):
        parse_host_pattern("a.example..")


def test_of_many_errors_in_a_file_the_first_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "egress.toml"
    path.write_text("version = 1\n" + "[[allow]]\nhost = 5\n" * 5000)

    with pytest.raises(PolicyError) as caught:
        load_policy(path)

    shown = str(caught.value).splitlines()
    assert len(shown) < 30
    assert "(and 4999 more)" in shown[0]
    assert "4980 more are not shown" in shown[-1]
