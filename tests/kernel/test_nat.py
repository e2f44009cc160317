"""What this machine translates (NAT) goes by the address that the command named."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from support.lab import HTTP_PORT, SERVER4, UDP_PORT, Lab, lab, name_server
from support.users import ALL_MAY, NOBODY, as_nobody
from support.watching import Json, Watched, watch

EMBEDDED = "127.0.0.11"  # Docker's resolver, as its containers see it
BEHIND = 40053  # the port at which it really listens: another at each start
SERVICE, DNS_SERVICE = "10.96.0.1", "10.96.0.10"  # as Kubernetes has them
PUBLISHED = 15432
# As Docker and kube-proxy write them.
RULES = f"""
table ip nat {{
    chain output {{
        type nat hook output priority -100;
        ip daddr {EMBEDDED} udp dport 53 dnat to {EMBEDDED}:{BEHIND}
        ip daddr {EMBEDDED} tcp dport 53 dnat to {EMBEDDED}:{BEHIND}
        ip daddr {DNS_SERVICE} udp dport 53 dnat to {SERVER4}:53
        ip daddr {DNS_SERVICE} tcp dport 53 dnat to {SERVER4}:53
        ip daddr {SERVICE} tcp dport 443 dnat to {SERVER4}:{HTTP_PORT}
        ip daddr {SERVICE} udp dport 443 dnat to {SERVER4}:{UDP_PORT}
        ip daddr 127.0.0.1 tcp dport {PUBLISHED} dnat to {SERVER4}:{HTTP_PORT}
    }}
    chain postrouting {{
        type nat hook postrouting priority 100;
        ip saddr {EMBEDDED} udp sport {BEHIND} snat to {EMBEDDED}:53
        ip saddr {EMBEDDED} tcp sport {BEHIND} snat to {EMBEDDED}:53
        ip saddr 127.0.0.1 oifname "wire" masquerade
    }}
}}
"""
Watch = Callable[..., Watched]


@pytest.fixture(scope="module")
def translating(can_load: None) -> Generator[Lab]:  # noqa: ARG001 -- order
    with lab() as built:
        enter = ["nsenter", f"--net=/run/netns/{built.client}"]
        for words in (
            ("ip", "route", "add", "10.96.0.0/16", "via", SERVER4),
            ("sysctl", "-q", "net.ipv4.conf.all.route_localnet=1"),
            ("nft", "-f", "-"),
        ):
            subprocess.run([*enter, *words], check=True, input=RULES, text=True)
        where = (f"--listen-address={EMBEDDED}", f"--port={BEHIND}")
        with name_server(built.client, *where, "--bind-interfaces"):
            yield built


@pytest.fixture(params=[EMBEDDED, DNS_SERVICE], ids=["docker", "kubernetes"])
def resolver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def inside(network: Lab, folder: Path, resolver: str) -> list[str]:
    """Return the words that run what follows in the namespace, with that resolver."""
    path = folder / "resolv.conf"
    path.write_text(f"nameserver {resolver}\n")
    script = f'mount --bind {path} /etc/resolv.conf && exec "$@"'
    return [*network.enter(), "sh", "-c", script, "sh"]


@pytest.fixture
def as_user(translating: Lab, resolver: str, tmp_path: Path) -> Generator[Watch]:
    """Watch a command as a user, who can change nothing of the network."""
    own = Path(tempfile.mkdtemp(prefix="egressmon-user-", dir="/tmp"))
    shutil.chown(own, NOBODY, NOBODY)

    def run(*command: str, by: str = resolver, **how: Any) -> Watched:
        entered = inside(translating, tmp_path, by)
        prefix = [*entered, *as_nobody(tmp_path, ["sudo", "-n"], ALL_MAY)]
        return watch(own, *command, prefix=prefix, **how)

    yield run
    shutil.rmtree(own)


POLICY = """
version = 1
enforce = "fail"
[[allow]]
host = "api.example.test"
ports = "any"
"""
LOOK_UP = (
    f"import socket\nsocket.create_connection(('api.example.test', {HTTP_PORT}), 9)\n"
)


def peers(run: Watched) -> list[tuple[str, int, str, Json | None]]:
    """Return (address, port, verdict, where it is sent) of each connection."""
    return [
        (dst["ip"], dst["port"], one["verdict"], dst["translated"])
        for one in run.of("connection")
        for dst in [one["dst"]]
    ]


def test_a_resolver_behind_nat_names_what_it_answered(
    as_user: Watch, resolver: str
) -> None:
    run = as_user(sys.executable, "-c", LOOK_UP, policy=POLICY)

    assert run.end["verdict"] == "clean", run.stderr
    look_ups = run.of("dns")
    assert {one["resolver"] for one in look_ups} == {resolver}
    assert all(one["trusted"] for one in look_ups), look_ups
    (one,) = run.of("connection", protocol="tcp")
    assert one["dst"]["names"][0]["name"] == "api.example.test"
    server = {"ip": EMBEDDED, "port": BEHIND}
    if resolver == DNS_SERVICE:
        server = {"ip": SERVER4, "port": 53}
    assert (resolver, 53, "allowed", server) in peers(run)


def test_a_policy_that_is_learned_behind_one_resolver_holds_behind_another(
    as_user: Watch, resolver: str
) -> None:
    command = (sys.executable, "-c", LOOK_UP)
    learned = as_user(*command, verb="learn", options=("--output", "-"))
    (other,) = {EMBEDDED, DNS_SERVICE} - {resolver}

    again = [
        as_user(*command, policy=learned.stdout, by=by) for by in (resolver, other)
    ]

    assert [run.end["verdict"] for run in again] == ["clean", "clean"], learned.stdout
    assert resolver not in learned.stdout
    assert str(BEHIND) not in learned.stdout


@pytest.mark.parametrize("how", ["+notcp", "+tcp"])
def test_questions_through_nat_are_judged(as_user: Watch, how: str) -> None:
    run = as_user("dig", "+short", how, "evil.example.test", policy=POLICY)

    assert run.status == 120
    (one,) = run.of("dns")
    assert (one["name"], one["verdict"]) == ("evil.example.test", "violation")
    assert one["status"] == "NOERROR"
    assert run.stderr.count("no allow entry covers") == 1


def test_a_service_is_one_connection_by_the_address_that_was_named(
    as_user: Watch,
) -> None:
    policy = f"""
version = 1
enforce = "fail"
[[allow]]
cidr = "{SERVICE}"
protocol = "any"
[[allow]]
cidr = "127.0.0.1"
ports = [{PUBLISHED}]
"""
    program = f"""
import socket
socket.create_connection(("{SERVICE}", 443), 9)
socket.create_connection(("127.0.0.1", {PUBLISHED}), 9)
kept = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
kept[0].sendto(b"x", ("{SERVICE}", 443))
assert kept[0].recv(9) == b"x"
kept[1].connect(("{SERVICE}", 443))
for _ in range(3):
    kept[1].send(b"x")
    assert kept[1].recv(9) == b"x"
"""
    run = as_user(sys.executable, "-c", program, policy=policy)

    assert run.end["verdict"] == "clean", run.stderr
    web, echo = ({"ip": SERVER4, "port": port} for port in (HTTP_PORT, UDP_PORT))
    assert peers(run) == [
        (SERVICE, 443, "allowed", web),
        ("127.0.0.1", PUBLISHED, "allowed", web),
        (SERVICE, 443, "allowed", echo),
        (SERVICE, 443, "allowed", echo),
    ]


def test_where_it_really_goes_can_be_denied(as_user: Watch) -> None:
    policy = f"""
version = 1
[[allow]]
cidr = "{SERVICE}"
[[deny]]
cidr = "{SERVER4}"
ports = [{HTTP_PORT}]
"""
    run = as_user("curl", "-sk", "-m9", f"http://{SERVICE}:443/", policy=policy)

    (one,) = run.of("connection")
    assert (one["verdict"], one["rule"]) == ("violation", "deny[0]")


# One socket, two peers: which one a packet was for cannot be told, so it goes by where
# it went.
def test_a_socket_that_was_given_several_peers_goes_by_its_packets(
    as_user: Watch,
) -> None:
    program = f"""
import socket
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.connect(("127.0.0.1", 9))
one.connect(("{SERVICE}", 443))
one.send(b"x")
"""
    policy = f'version = 1\n[[allow]]\ncidr = "{SERVICE}"\nprotocol = "any"\n'
    run = as_user(sys.executable, "-c", program, policy=policy)

    assert (SERVER4, UDP_PORT, "violation", None) in peers(run)


# With CAP_NET_ADMIN the rules may be the command's own.
def test_a_command_that_can_translate_gains_nothing_by_it(
    translating: Lab, resolver: str, tmp_path: Path
) -> None:
    policy = POLICY + f'[[allow]]\ncidr = "{SERVICE}"\n'
    program = LOOK_UP + f"socket.create_connection(('{SERVICE}', 443), 9)\n"
    run = watch(
        tmp_path,
        *(sys.executable, "-c", program),
        policy=policy,
        prefix=inside(translating, tmp_path, resolver),
    )

    (service,) = (one for one in run.of("connection") if one["dst"]["ip"] == SERVICE)
    assert service["verdict"] == "violation"
    assert f"it is sent to {SERVER4}:{HTTP_PORT} (NAT)" in service["reason"]
    # A resolver on this machine, outside the scope, is no work of the command's.
    trusted = {one["trusted"] for one in run.of("dns")}
    assert trusted == {resolver == EMBEDDED}
