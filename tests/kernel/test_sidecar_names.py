"""Under `egressmon sidecar --all`, names stay in the network where they were learned.

Two network namespaces play containers, each with NAT to a resolver as Docker makes it.
"""

import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support import pasta
from support.lab import HTTP_PORT, SERVER4, SERVER6, Lab, lab, name_server
from support.sidecars import Json, Sidecar, sidecar

EMBEDDED, BEHIND = "127.0.0.11", 40053
# As Docker writes them into a container's network namespace.
RULES = f"""
table ip nat {{
    chain output {{
        type nat hook output priority -100;
        ip daddr {EMBEDDED} udp dport 53 dnat to {EMBEDDED}:{BEHIND}
        ip daddr {EMBEDDED} tcp dport 53 dnat to {EMBEDDED}:{BEHIND}
    }}
    chain postrouting {{
        type nat hook postrouting priority 100;
        ip saddr {EMBEDDED} udp sport {BEHIND} snat to {EMBEDDED}:53
        ip saddr {EMBEDDED} tcp sport {BEHIND} snat to {EMBEDDED}:53
    }}
}}
"""
POLICY = '[[allow]]\nhost = "api.example.test"\nports = "any"\n'
LOOK_UP = (
    f"import socket\nsocket.create_connection(('api.example.test', {HTTP_PORT}), 9)\n"
)
DIRECT = f"import socket\nsocket.create_connection(('{SERVER4}', {HTTP_PORT}), 9)\n"


@contextmanager
def container(resolver: Path) -> Generator[list[str]]:
    """Yield the words that run what follows in a network with Docker's NAT rules."""
    with ExitStack() as stack:
        built = stack.enter_context(lab())
        enter = ["nsenter", f"--net=/run/netns/{built.client}"]
        words = [*enter, "nft", "-f", "-"]
        subprocess.run(words, check=True, input=RULES, text=True)
        where = (f"--listen-address={EMBEDDED}", f"--port={BEHIND}")
        stack.enter_context(name_server(built.client, *where, "--bind-interfaces"))
        yield entering(built, resolver)


def entering(network: Lab, resolver: Path) -> list[str]:
    script = f'mount --bind {resolver} /etc/resolv.conf && exec "$@"'
    private = ["unshare", "--mount", "--propagation", "private"]
    enter = ["nsenter", f"--net=/run/netns/{network.client}"]
    return [*enter, *private, "sh", "-c", script, "sh"]


@pytest.fixture
def resolver(tmp_path: Path) -> Path:
    path = tmp_path / "resolv.conf"
    path.write_text(f"nameserver {EMBEDDED}\n")
    return path


@pytest.fixture
def aside() -> Generator[Sidecar]:
    with sidecar(POLICY) as one:
        yield one


def begin(one: Sidecar) -> None:
    done = one.start("--all", "--policy", str(one.folder / "egress.toml"))
    assert done.returncode == 0, done.stderr


def reached(one: Sidecar) -> list[Json]:
    """Return the connections to the web server, in their order."""
    made = [*one.reached(ip=SERVER4), *one.reached(ip=SERVER6)]
    ours = (one for one in made if one["process"] and one["dst"]["port"] == HTTP_PORT)
    return sorted(ours, key=lambda one: int(one["seq"]))


def devices(one: Sidecar) -> list[Json]:
    """Return the TUN devices that were set up by something called pasta."""
    return [
        record
        for record in one.records()
        if record["type"] == "escape"
        and record["what"] == "tun-device"
        and record["process"]["argv"][0].endswith("/pasta")
    ]


def run(enter: list[str], code: str) -> None:
    subprocess.run([*enter, sys.executable, "-I", "-c", code], check=True)


def test_a_containers_resolver_names_within_it_alone(
    aside: Sidecar,
    resolver: Path,
    can_load: None,  # noqa: ARG001 -- order
) -> None:
    with container(resolver) as one, container(resolver) as other:
        begin(aside)
        run(one, LOOK_UP)
        run(one, DIRECT)
        run(other, DIRECT)
        run(other, LOOK_UP)
        aside.stop()

    records = aside.verified()
    look_ups = [one for one in records if one["type"] == "dns"]
    mine = [one for one in look_ups if one["name"] == "api.example.test"]
    assert {one["resolver"] for one in mine} == {EMBEDDED}
    assert {(one["verdict"], one["trusted"]) for one in mine} == {("allowed", True)}
    made = reached(aside)
    first, second = dict.fromkeys(one["place"] for one in made)
    assert [(one["place"], one["verdict"]) for one in made] == [
        (first, "allowed"),
        (first, "allowed"),
        (second, "violation"),
        (second, "allowed"),
    ]
    asked = aside.reached(ip=EMBEDDED, port=53)
    assert {one["verdict"] for one in asked} <= {"allowed", "local"}
    assert {one["dst"]["translated"]["port"] for one in asked} == {BEHIND}
    assert not aside.reached(ip=EMBEDDED, port=BEHIND)


def test_a_container_that_answers_itself_names_nothing(
    aside: Sidecar,
    resolver: Path,
    can_load: None,  # noqa: ARG001 -- order
) -> None:
    with ExitStack() as stack:
        network = stack.enter_context(lab())
        begin(aside)
        # It begins in the job: as a container's own process, that is not root's.
        where = (f"--listen-address={EMBEDDED}", "--bind-interfaces")
        enter = ["unshare", "--mount", "--propagation", "private"]
        stack.enter_context(name_server(network.client, *where, prefix=enter))
        run(entering(network, resolver), LOOK_UP)
        aside.stop()

    aside.verified()
    (one,) = reached(aside)
    assert (one["verdict"], one["dst"]["names"]) == ("violation", [])
    asked = [one for one in aside.records() if one["type"] == "dns"]
    assert asked
    assert not any(one["trusted"] for one in asked)


@pytest.mark.skipif(pasta.why_not() is not None, reason=str(pasta.why_not()))
def test_what_pasta_repeats_is_told_as_that_and_counted_once(
    aside: Sidecar,
    can_load: None,  # noqa: ARG001 -- order
) -> None:
    with lab() as network, pasta.rootless(network) as enter:
        way = ["ip", "-n", network.client, "route", "add", "default", "via", SERVER4]
        subprocess.run(way, check=True)
        begin(aside)
        run(enter, DIRECT)
        aside.stop()

    (tun,) = devices(aside)
    assert tun["doubt"] is False
    first, again = reached(aside)
    assert (first["relayed"], first["verdict"]) == (None, "violation")
    assert again["relayed"] == {
        "helper": "pasta",
        "place": first["place"],
        "pid": first["process"]["pid"],
    }
    assert (again["verdict"], again["rule"]) == (first["verdict"], first["rule"])
    assert again["place"] not in {first["place"], None}
    records = aside.verified()
    made = [one for one in records if one["type"] == "connection"]
    counted = sum(one["verdict"] == "violation" for one in made) - 1
    assert records[-1]["connections"]["violation"] == counted


@pytest.mark.skipif(pasta.why_not() is not None, reason=str(pasta.why_not()))
def test_a_program_that_is_called_pasta_is_no_helper(
    aside: Sidecar,
    can_load: None,  # noqa: ARG001 -- order
) -> None:
    copy = aside.folder / "pasta"
    shutil.copy(str(pasta.PASTA), copy)
    with lab() as network, pasta.rootless(network) as enter:
        way = ["ip", "-n", network.client, "route", "add", "default", "via", SERVER4]
        subprocess.run(way, check=True)
        begin(aside)
        place = enter.index(str(pasta.PASTA))
        run([*enter[:place], str(copy), *enter[place + 1 :]], DIRECT)
        aside.stop()

    assert [one["relayed"] for one in reached(aside)] == [None, None]
    assert [one["doubt"] for one in devices(aside)] == [True]
