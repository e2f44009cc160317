"""`policy explain` reads a destination as `watch` does."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.cli.policy.explain import parse_destination
from egressmon.errors import UsageError
from egressmon.policy.judging.judge import Judge
from egressmon.policy.judging.questions import Destination, Listener
from egressmon.policy.language.model import Allow, Deny, Policy
from egressmon.policy.language.names import canonical
from egressmon.policy.language.search import SearchList

LABELS = st.sampled_from(["api", "db", "b\xfccher", "XN--BCHER-KVA", "storage", "Corp"])
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(
    lambda some: ".".join([*some, "example"])
)
HOSTS = ["db", "**.corp.example", "api.*.corp.example", "b\xfccher.example"]


def judge(ports: tuple[int | str, ...] | str) -> Judge:
    return Judge(
        Policy(
            version=1,
            allow=(
                *(Allow(host=host, ports=ports) for host in HOSTS),
                Allow(cidr="192.0.2.77/24", ports=ports),
                Allow(cidr="2001:db8::/32", ports=ports),
            ),
            deny=(Deny(host="**.storage.corp.example"), Deny(cidr="192.0.2.9")),
        ),
        frozenset(),
        SearchList(("corp.example", "example")),
    )


def on_the_wire(name: str) -> str:
    """Return the name as a DNS question has it."""
    return canonical(name.encode("idna").decode())


@given(NAMES, st.integers(1, 65535), st.booleans())
def test_a_host_gets_what_its_connection_would(
    name: str,
    port: int,
    dot: bool,  # noqa: FBT001 -- hypothesis
) -> None:
    rules = judge((443, "1024-65535"))
    asked = parse_destination(f"{name}{'.' if dot else ''}:{port}")
    seen = Destination(None, port, "tcp", (on_the_wire(name),))

    assert rules.connection(asked) == rules.connection(seen)


@given(
    st.one_of(st.ip_addresses(), st.ip_addresses(network="192.0.2.0/28")),
    st.sampled_from(["plain", "mapped", "device"]),
)
def test_an_address_gets_what_its_connection_would(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, form: str
) -> None:
    rules = judge("any")
    text = str(address)
    if address.version == 4 and form == "mapped":
        text = f"::ffff:{text}"
    elif address.version == 6 and form == "device":
        text += "%eth0"
    shown = f"[{text}]" if ":" in text else text
    plain = getattr(address, "ipv4_mapped", None) or address
    if plain.is_unspecified:
        plain = ipaddress.ip_address("127.0.0.1" if plain.version == 4 else "::1")
    listener: Listener | None = "outside" if plain.is_loopback else None

    asked = parse_destination(f"{shown}:443")

    seen = Destination(plain, 443, "tcp", (), listener)
    assert rules.connection(asked) == rules.connection(seen)


# The kernel makes loopback of them, and that is what `watch` sees.
@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("[::]:80", "[::1]:80"),
        ("[::ffff:0.0.0.0]:80", "127.0.0.1:80"),
    ],
)
def test_the_unspecified_address_is_this_machine(text: str, loopback: str) -> None:
    assert parse_destination(text) == parse_destination(loopback)


def test_icmp_has_no_port() -> None:
    assert parse_destination("a.example/icmp") == Destination(
        None, None, "icmp", ("a.example",)
    )


@pytest.mark.parametrize(
    "text",
    ["", "a", "a:", "a:0", "a:65536", ":1", "1.2:3", "a b:1", "a/icmp/udp", "a:1/icmp"],
)
def test_what_is_no_destination_says_what_to_write(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_destination(text)
    assert "write" in str(caught.value.hint)
