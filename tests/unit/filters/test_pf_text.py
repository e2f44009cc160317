"""The anchor for pf: its text, and that each line is of a form that pf.conf(5) has."""

import ipaddress
import re

import pytest

from egressmon.filters import pf_text
from egressmon.filters.plan import plan_of
from egressmon.policy.language.model import Policy

API = ipaddress.ip_address("198.51.100.7")
RESOLVER = ipaddress.ip_address("198.51.100.53")

_PORT = r"\d+(:\d+)?"
_WHERE = rf"to (<\w+>|[0-9a-f:.]+/\d+)( port ({_PORT}|\{{ {_PORT}( {_PORT})* \}}))?"
_PROTO = r"(proto \{ tcp udp \}|proto (tcp|udp)|inet proto icmp|inet6 proto ipv6-icmp)"
_TYPE = r" icmp6-type (routersol|neighbrsol|neighbradv)"
GRAMMAR = re.compile(
    r"#.*[^\\]"
    r"|table <egressmon_\w{1,20}> persist \{ [\w.:\- ]*\}"
    rf"|(pass|block return) out quick( on lo0)?( {_PROTO})? (all|{_WHERE})({_TYPE})?"
    r"( user \d+)?"
)
"""The part of pf.conf(5)'s grammar that is used."""


def anchor(uid: int | None = None, **tables: object) -> str:
    policy = Policy.model_validate({"version": 1, "enforce": "fail", **tables})
    plan = plan_of(policy, [RESOLVER], whole=uid is None)
    return pf_text.anchor(plan, "egress.toml", "sha256:0", {}, uid)


def test_the_text_for_a_small_policy() -> None:
    text = anchor(
        allow=[
            {"host": "api.example.org", "ports": [443, "80-90"], "reason": "calls"},
            {"cidr": "fd00::/16", "protocol": "any", "ports": [53]},
        ],
        deny=[{"cidr": "198.51.100.66", "protocol": "tcp"}],
        dns={"queries": "any"},
    )

    rules = [line for line in text.splitlines() if not line.startswith("#")]
    assert rules == [
        "table <egressmon_allow0> persist { api.example.org }",
        "table <egressmon_resolvers> persist { 198.51.100.53 }",
        "block return out quick proto tcp to 198.51.100.66/32 port 1:65535",
        "pass out quick proto tcp to <egressmon_allow0> port { 80:90 443 }",
        "pass out quick proto { tcp udp } to fd00::/16 port 53",
        "pass out quick inet6 proto ipv6-icmp to fd00::/16",
        "pass out quick proto { tcp udp } to <egressmon_resolvers> port 53",
        "pass out quick on lo0 proto { tcp udp } all",
        "pass out quick inet6 proto ipv6-icmp all icmp6-type routersol",
        "pass out quick inet6 proto ipv6-icmp all icmp6-type neighbrsol",
        "pass out quick inet6 proto ipv6-icmp all icmp6-type neighbradv",
        "block return out quick all",
    ]
    assert "# allow[0] api.example.org: calls" in text


@pytest.mark.parametrize("uid", [None, 501])
@pytest.mark.parametrize("listeners", ["any", "scope", "deny"])
def test_each_line_is_of_the_grammar(uid: int | None, listeners: str) -> None:
    text = anchor(
        uid,
        allow=[
            {"host": "a-b.example.org", "reason": 'x\n"pass all" \\'},
            {"host": "*.example.org", "protocol": "udp", "ports": "any"},
            {"cidr": "0.0.0.0/0", "protocol": "icmp"},
            {"cidr": "::/0", "protocol": "any", "ports": [1, 3, "5-7"]},
            {"cidr": "198.51.100.7", "protocol": "sctp", "by": {"exe": ["*"]}},
        ],
        deny=[{"host": "x.example.org"}, {"cidr": "fd00::1", "protocol": "icmp"}],
        local={"listeners": listeners},
    )

    assert text.endswith("\n")
    for line in text.splitlines():
        assert GRAMMAR.fullmatch(line), line


@pytest.mark.parametrize(
    ("uid", "entry", "line"),
    [
        (501, {}, "# wider: scope: pf knows the user of TCP and UDP alone"),
        (None, {"protocol": "sctp"}, "# narrower: allow[0]: pf has no ports of SCTP"),
        (None, {"protocol": "any"}, "# narrower: allow[0]: pf has it for TCP, UDP"),
        (None, {}, "# wider: accept.from: replies to those who connected pass"),
    ],
)
def test_what_pf_cannot_express_is_said(
    uid: int | None, entry: dict[str, str], line: str
) -> None:
    assert line in anchor(uid, allow=[{"cidr": "198.51.100.7", **entry}])
