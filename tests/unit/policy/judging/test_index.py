"""An index finds what a search through the whole list would find, and little else."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.policy.judging.index import HostIndex, NetworkIndex
from egressmon.policy.judging.judge import Judge
from egressmon.policy.judging.questions import Destination
from egressmon.policy.language.model import Accept, Allow, Dns, Policy
from egressmon.policy.language.names import covers

MANY = 10_000
RESOLVER = ipaddress.ip_address("192.0.2.53")
_LABEL = st.text(alphabet="ab", min_size=1, max_size=2)
NAMES = st.lists(_LABEL, min_size=1, max_size=4).map(".".join)
PATTERNS = st.tuples(st.sampled_from(["", "*.", "**."]), NAMES).map("".join)
NETWORKS = st.tuples(
    st.sampled_from(["10.0.0.0", "10.0.0.3", "2001:db8::", "2001:db8::3"]),
    st.integers(0, 32),
).map(lambda one: ipaddress.ip_network(one, strict=False))
ADDRESSES = st.one_of(
    st.integers(0, 7).map(lambda one: ipaddress.ip_address("10.0.0.0") + one),
    st.integers(0, 7).map(lambda one: ipaddress.ip_address("2001:db8::") + one),
)


@given(st.lists(PATTERNS), NAMES)
def test_each_pattern_that_covers_a_name_is_found(
    patterns: list[str], name: str
) -> None:
    found = sorted(HostIndex(enumerate(patterns)).places(name))

    wanted = [place for place, one in enumerate(patterns) if covers(one, name)]
    assert [place for place in found if covers(patterns[place], name)] == wanted


# The part without a wildcard decides, whatever a wildcard may stand for.
@pytest.mark.parametrize("pattern", ["storage.*.example.org", "api.*", "*"])
def test_a_wildcard_may_be_anywhere(pattern: str) -> None:
    index = HostIndex([(7, pattern)])

    for name in ("storage.eu.example.org", "api.example.org"):
        ending = pattern.rpartition("*")[2].removeprefix(".")
        assert list(index.places(name)) == ([7] if name.endswith(ending) else [])


@given(st.lists(NETWORKS), ADDRESSES)
def test_each_network_with_an_address_is_found(
    networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network],
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    found = sorted(NetworkIndex(enumerate(networks)).places(address))

    assert found == [place for place, one in enumerate(networks) if address in one]


def long_policy() -> Policy:
    """Return a policy with 10,000 entries of each kind that a policy lists."""
    first = ipaddress.ip_address("10.0.0.0")
    return Policy(
        version=1,
        allow=(
            *(Allow(host=f"host{n}.example.org") for n in range(MANY)),
            *(Allow(host=f"*.zone{n}.example.org") for n in range(MANY)),
            *(Allow(cidr=f"{first + n * 256}/24") for n in range(MANY)),
        ),
        dns=Dns(names=tuple(f"name{n}.example.org" for n in range(MANY))),
        accept=Accept.model_validate(
            {"from": [f"{first + n * 256}/24" for n in range(MANY)]}
        ),
    )


# That it takes as long with ten entries as with thousands, scripts/bench shows.
def test_of_a_long_list_few_entries_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge(long_policy(), frozenset({RESOLVER}))
    asked: list[str] = []

    def noted(pattern: str, name: str) -> bool:
        asked.append(pattern)
        return covers(pattern, name)

    monkeypatch.setattr("egressmon.policy.judging.judge.covers", noted)
    inside = ipaddress.ip_address("10.0.9.7")
    outside = ipaddress.ip_address("192.0.2.7")

    verdicts = [
        judge.connection(Destination(outside, 443, "tcp", ("host9.example.org",))),
        judge.connection(Destination(outside, 443, "tcp", ("x.zone9.example.org",))),
        judge.connection(Destination(inside, 443, "tcp")),
        judge.connection(Destination(outside, 443, "tcp", ("none.example.org",))),
        judge.query("host9.example.org", RESOLVER),
        judge.query("name9.example.org", RESOLVER),
        judge.query("none.example.org", RESOLVER),
        judge.accepted(inside, is_local=False),
        judge.accepted(outside, is_local=False),
    ]

    assert [one.rule for one in verdicts] == [
        "allow[9]", "allow[10009]", "allow[20009]", None,
        "allow[9]", "dns.names", None, "accept.from", "accept.from",
    ]  # fmt: skip
    assert [one.word for one in verdicts].count("violation") == 3
    assert len(asked) <= 6


def test_the_first_of_several_entries_decides() -> None:
    allow = (
        Allow(host="**.example.org", reason="all"),
        Allow(cidr="10.0.0.0/8", reason="near"),
        Allow(host="api.example.org", reason="one"),
    )
    judge = Judge(Policy(version=1, allow=allow), frozenset({RESOLVER}))
    near = ipaddress.ip_address("10.0.0.1")

    named = judge.connection(Destination(near, 443, "tcp", ("api.example.org",)))
    unnamed = judge.connection(Destination(near, 443, "tcp"))

    assert (named.rule, unnamed.rule) == ("allow[0]", "allow[1]")
