"""The ruleset: its text for a policy, which no text in the policy can leave."""

import ipaddress
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressmon.filters import nft_text, wording
from egressmon.filters.applying import elements_of
from egressmon.filters.plan import plan_of, shared_addresses
from egressmon.filters.scopes import MACHINE, Scope
from egressmon.policy.language.model import Policy

MARK = "egressmon 1 sha256:" + 64 * "0" + " " + 16 * "f"
RESOLVER = ipaddress.ip_address("198.51.100.53")
API = ipaddress.ip_address("198.51.100.7")


def policy(**tables: object) -> Policy:
    return Policy.model_validate({"version": 1, "enforce": "fail", **tables})


def rendered(of: Policy, scope: Scope = MACHINE, *given: str) -> str:
    plan = plan_of(of, [RESOLVER], given, whole=scope.is_machine)
    addresses = {"api.example.org": (API,)}
    elements = elements_of(plan, addresses, 3600)
    return nft_text.ruleset(
        plan, nft_text.Heading("egress.toml", MARK, scope), elements
    )


def test_the_text_for_a_small_policy() -> None:
    text = rendered(
        policy(
            allow=[
                {
                    "host": "api.example.org",
                    "ports": [443, "80-90", 85, 91],
                    "reason": "model calls",
                }
            ],
            dns={"queries": "any"},
        ),
        Scope(cgroup="system.slice/agent.service"),
    )

    assert text == Path(__file__).with_name("small.nft").read_text()


def test_a_policy_renders_to_the_same_text_each_time() -> None:
    of = policy(allow=[{"host": "api.example.org"}], deny=[{"cidr": "198.51.100.0/24"}])

    assert rendered(of) == rendered(of)


@pytest.mark.parametrize(
    ("tables", "line"),
    [
        (
            {"allow": [{"cidr": "198.51.100.7", "by": {"package": ["grpcio"]}}]},
            "# wider: allow[0].by: a filter cannot tell the package: all of the scope",
        ),
        (
            {"allow": [{"host": "*.example.org"}]},
            "# narrower: allow[0]: *.example.org is left out: a filter cannot list",
        ),
        (
            {"deny": [{"host": "**.tracker.example"}]},
            "# wider: deny[0]: **.tracker.example is left out: a filter cannot list",
        ),
        ({"bypass": "violation"}, "# wider: bypass: "),
        ({"enforce": "report"}, "# narrower: enforce: "),
        ({"origins": {"machine": "record"}}, "# narrower: origins.machine: "),
        ({}, "# wider: dns.queries: "),
        ({}, "# wider: scope: what containers and virtual machines"),
    ],
)
def test_what_a_filter_cannot_express_is_said(
    tables: dict[str, object], line: str
) -> None:
    assert line in rendered(policy(**tables))


def test_an_address_of_two_names_is_said() -> None:
    of = policy(
        allow=[{"host": "a.example.org"}, {"host": "b.example.org"}],
        deny=[{"host": "c.example.org"}],
    )
    plan = plan_of(of, [], whole=True)
    other = ipaddress.ip_address("198.51.100.8")
    notes = shared_addresses(
        plan,
        {
            "a.example.org": (API, other),
            "b.example.org": (API,),
            "c.example.org": (other,),
        },
    )

    narrower, wider = sorted(map(str, notes))
    assert narrower.startswith("narrower: deny.host: 198.51.100.8 is of c.example.org")
    assert wider == (
        "wider: allow.host: 198.51.100.7 is of a.example.org, b.example.org: what one "
        "of them may is allowed to all"
    )


def test_narrow_leaves_out_what_would_be_wider() -> None:
    of = policy(allow=[{"cidr": "198.51.100.7", "by": {"exe": ["/usr/bin/curl"]}}])
    plan = plan_of(of, [], whole=False, narrow=True)

    assert plan.allowed == ()
    assert plan.loopback == "closed"
    assert {note.effect for note in plan.notes if note.rule != "dns.queries"} == {
        "narrower"
    }


def test_a_wildcard_holds_for_the_names_whose_addresses_were_given() -> None:
    of = policy(allow=[{"host": "*.example.org"}, {"host": "api.example.org"}])
    plan = plan_of(of, [], ["cdn.example.org", "example.net"], whole=True)

    assert plan.allowed[0].hosts == ("api.example.org", "cdn.example.org")


def test_what_was_known_stays_for_the_time_that_is_left_and_no_longer() -> None:
    plan = plan_of(policy(allow=[{"host": "api.example.org"}]), [], whole=True)
    before = {
        "allow0_4": {"198.51.100.8": 99999, "198.51.100.9": 5, "198.51.100.10": 0},
        "allow0_6": {"no address": 5, "198.51.100.9": 5},
    }
    elements = elements_of(plan, {"api.example.org": (API,)}, 600, before)

    assert {str(one): left for one, left in elements["allow0_4"].items()} == {
        "198.51.100.8": 600,
        "198.51.100.9": 5,
        "198.51.100.7": 600,
    }
    assert elements["allow0_6"] == {}


# What would end a comment, or begin a line or a statement of its own.
HOSTILE = (
    '"; } } flush ruleset; #',
    "x\nflush ruleset\n",
    "\\",
    '\\"',
    "a\r\nb\x1b[2J\x00",
    "\u202eevil",
    "ä" * 200,
    "##[group]::set-output",
    "$undefined @allow0_4 include",
    "'" * 300,
)


@pytest.mark.parametrize("reason", HOSTILE)
def test_no_reason_leaves_its_comment(reason: str) -> None:
    plain = rendered(policy(allow=[{"cidr": "198.51.100.7", "reason": "plain"}]))
    hostile = rendered(policy(allow=[{"cidr": "198.51.100.7", "reason": reason}]))

    assert unquoted(hostile) == unquoted(plain)


@given(st.text(max_size=300))
@settings(max_examples=200)
def test_a_comment_is_one_quoted_text_that_nft_takes(text: str) -> None:
    quoted = wording.quoted(text)

    assert re.fullmatch(r'"[^"\n]*"', quoted)
    assert quoted.isprintable()
    assert len(quoted.encode()) <= wording.MAX_COMMENT + 2


# Where kernel tests must run, nft must be there, and asked.
MUST_RUN = bool(os.environ.get("EGRESSMON_KERNEL_TESTS"))


@pytest.mark.skipif(not MUST_RUN and shutil.which("nft") is None, reason="no nft")
def test_the_real_nft_reads_hostile_reasons() -> None:
    allow = [{"cidr": "198.51.100.7", "reason": reason} for reason in HOSTILE]
    allow.append({"host": "api.example.org", "reason": "x" * 500})
    text = rendered(policy(allow=allow), Scope(uid=0))
    # `nft -c` asks the kernel; in a user's own network namespace that is nobody's.
    words = ["unshare", "--user", "--map-root-user", "--net", "nft", "-c", "-f", "-"]
    done = subprocess.run(
        words, check=False, input=text, text=True, capture_output=True
    )
    refusals = ("unshare failed", "Operation not permitted")
    if not MUST_RUN and any(one in done.stderr for one in refusals):
        pytest.skip(done.stderr.strip())

    assert done.stderr == ""


def unquoted(text: str) -> str:
    assert text.count('"') % 2 == 0
    return re.sub(r'"[^"]*"', '""', text)
