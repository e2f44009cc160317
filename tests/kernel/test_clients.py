"""Real clients reach real peers: each connection is seen, named, judged, attributed."""

import sys
from collections.abc import Callable

import pytest

from egressmon.text import escape
from support.lab import (
    HTTP_PORT,
    OTHER4,
    OTHER_PORT,
    SERVER4,
    SERVER6,
    UDP_PORT,
)
from support.watching import Json, Watched

Watch = Callable[..., Watched]

POLICY = f"""
version = 1
enforce = "fail"
[[allow]]
host = "api.example.test"
ports = [{HTTP_PORT}]
reason = "the test's peer"
[dns]
names = ["four.example.test", "six.example.test", "*.example.test"]
"""
URL = "http://api.example.test/"
PYTHON_URLLIB = f"import urllib.request as u; print(u.urlopen('{URL}').read())"
PYTHON_ASYNCIO = """
import asyncio
async def main():
    reader, writer = await asyncio.open_connection("api.example.test", 80)
    writer.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print((await reader.read()).splitlines()[-1])
    writer.close()
asyncio.run(main())
"""
NODE_FETCH = f"fetch('{URL}').then(r => r.text()).then(console.log)"


def only(records: list[Json]) -> Json:
    assert len(records) == 1
    return records[0]


@pytest.mark.parametrize(
    ("command", "comm"),
    [
        (("curl", "-sS", "-4", URL), "curl"),
        (("curl", "-sS", "-6", URL), "curl"),
        ((sys.executable, "-c", PYTHON_URLLIB), "python"),
        ((sys.executable, "-c", PYTHON_ASYNCIO), "python"),
        (("node", "-e", NODE_FETCH), "node"),
    ],
    ids=["curl-4", "curl-6", "urllib", "asyncio", "node"],
)
def test_an_allowed_client_is_clean_and_named(
    watched: Watch, command: tuple[str, ...], comm: str
) -> None:
    run = watched(*command, policy=POLICY)

    assert "hello" in run.stdout
    assert run.status == 0, run.stderr
    assert run.end["verdict"] == "clean"
    made = [one for one in run.of("connection") if one["dst"]["port"] == HTTP_PORT]
    assert made
    for connection in made:
        assert connection["verdict"] == "allowed"
        assert connection["rule"] == "allow[0]"
        name = connection["dst"]["names"][0]
        assert (name["name"], name["source"]) == ("api.example.test", "dns")
        assert name["asked_by"] in {"thread", "process"}
        assert connection["dst"]["ip"] in {SERVER4, SERVER6}
        # A runtime may name its threads, so comm is only the process's default.
        exe = connection["process"]["exe"]
        assert comm in exe
        assert connection["process"]["argv"][-1].startswith(escape(command[-1])[:20])


@pytest.mark.smoke
def test_the_same_client_elsewhere_is_a_violation(watched: Watch) -> None:
    url = f"http://evil.example.test:{OTHER_PORT}/"

    run = watched("curl", "-sS", "-4", url, policy=POLICY)

    assert run.status == 120
    assert run.end["verdict"] == "violations"
    connection = only(run.of("connection", protocol="tcp"))
    assert connection["verdict"] == "violation"
    assert connection["dst"]["names"][0]["name"] == "evil.example.test"
    assert connection["reason"] == (
        f"no allow entry covers evil.example.test:{OTHER_PORT}/tcp"
    )
    assert "hello" in run.stdout  # fail reports; it does not block
    assert "evil.example.test" in run.stderr


def test_report_never_changes_the_status(watched: Watch) -> None:
    run = watched("curl", "-sS", f"http://{OTHER4}/", options=["--enforce", "report"])

    assert run.status == 0
    assert run.end["verdict"] == "violations"


def test_an_address_without_a_name_is_judged_as_one(watched: Watch) -> None:
    run = watched("curl", "-sS", f"http://{OTHER4}/", policy=POLICY)

    connection = only(run.of("connection", protocol="tcp"))
    assert connection["dst"]["names"] == []
    assert connection["verdict"] == "violation"
    assert run.end["unnamed_addresses"] == 1
    assert run.status == 120


@pytest.mark.smoke
def test_a_static_program_that_exits_at_once_is_attributed(
    watched: Watch, build: Callable[[str], str]
) -> None:
    program = build("connect")

    run = watched(program, OTHER4, str(HTTP_PORT), policy=POLICY)

    connection = only(run.of("connection"))
    assert connection["process"]["exe"] == program
    assert connection["process"]["argv"] == [program, OTHER4, str(HTTP_PORT)]
    assert connection["dst"]["ip"] == OTHER4


def test_an_exec_that_is_gone_at_once_keeps_the_kernels_words(
    watched: Watch, build: Callable[[str], str]
) -> None:
    program = build("connect")
    loop = f"for i in $(seq 50); do {program} {OTHER4} {HTTP_PORT}; done"

    run = watched("sh", "-c", loop, policy=POLICY)

    made = run.of("connection")
    assert len(made) == 50
    assert {one["process"]["exe"] for one in made} == {program}
    assert {tuple(one["process"]["argv"]) for one in made} == {
        (program, OTHER4, str(HTTP_PORT))
    }
    assert all(one["process"]["ancestry"] == ["sh"] for one in made)


# By the time the events are read (within 0.1 s) the process runs sleep.
def test_a_connection_is_not_blamed_on_a_later_program(watched: Watch) -> None:
    code = (
        "import os, socket; socket.socket().connect_ex(('127.0.0.1', 9));"
        "os.execv('/bin/sleep', ['sleep', '1'])"
    )

    run = watched(sys.executable, "-c", code)

    connection = only(run.of("connection"))
    assert "python" in connection["process"]["exe"]
    exes = [one["exe"] for one in run.of("process", event="exec")]
    assert "python" in exes[0]
    assert exes[1].endswith("/sleep")


def test_dig_is_a_query_and_a_connection_to_the_resolver(watched: Watch) -> None:
    run = watched("dig", "+short", "four.example.test", policy=POLICY)

    assert run.stdout.strip() == SERVER4
    query = only(run.of("dns", kind="A"))
    assert query["name"] == "four.example.test"
    assert query["answers"] == [f"four.example.test A {SERVER4}"]
    assert query["trusted"] is True
    assert query["verdict"] == "allowed"
    connection = only(run.of("connection", protocol="udp"))
    assert connection["dst"]["port"] == 53
    assert connection["rule"] == "dns.resolvers"
    assert run.status == 0


@pytest.mark.smoke
def test_dns_over_tcp_names_connections_too(watched: Watch) -> None:
    script = f"dig +tcp +short api.example.test; curl -sS http://{SERVER4}/"

    run = watched("sh", "-c", script, policy=POLICY)

    query = only(run.of("dns", name="api.example.test"))
    assert query["protocol"] == "tcp"
    curl = only([one for one in run.of("connection") if one["dst"]["port"] == 80])
    name = {"name": "api.example.test", "source": "dns", "asked_by": "other"}
    assert curl["dst"]["names"][0] == name
    assert curl["verdict"] == "allowed"


def test_a_truncated_answer_is_asked_again_over_tcp(watched: Watch) -> None:
    run = watched("dig", "+bufsize=512", "+short", "big.example.test", "TXT")

    queries = run.of("dns", name="big.example.test")
    assert {one["protocol"] for one in queries} == {"udp", "tcp"}
    tcp = only([one for one in queries if one["protocol"] == "tcp"])
    assert len("".join(tcp["answers"])) > 200
    assert run.end["losses"]["dns_broken"] == 0


def test_a_cname_chain_names_what_was_asked(watched: Watch) -> None:
    run = watched("curl", "-sS", "-4", "http://www.example.test/", policy=POLICY)

    query = only(run.of("dns", name="www.example.test", kind="A"))
    assert "www.example.test CNAME cdn.example.test." in query["answers"][0]
    made = only([one for one in run.of("connection") if one["dst"]["port"] == 80])
    assert made["dst"]["names"][0]["name"] == "www.example.test"
    assert made["verdict"] == "violation"  # api.example.test is allowed, not www


def test_a_query_to_another_server_is_a_violation(watched: Watch) -> None:
    run = watched(
        *("dig", "+short", "+tries=1", f"@{OTHER4}", "four.example.test"), policy=POLICY
    )

    query = only(run.of("dns"))
    assert query["verdict"] == "violation"
    assert query["rule"] == "dns.resolvers"
    assert query["trusted"] is False
    assert run.status == 120


def test_an_answer_from_an_untrusted_server_names_nothing(watched: Watch) -> None:
    script = f"dig +short @{OTHER4} api.example.test; curl -sS http://{SERVER4}/"

    run = watched("sh", "-c", script, policy=POLICY)

    made = only([one for one in run.of("connection") if one["dst"]["port"] == 80])
    assert made["dst"]["names"] == [
        {
            "name": "api.example.test",
            "source": "policy-resolution",
            "asked_by": None,
        }
    ]


UDP = """
import socket, sys
s = socket.socket(socket.AF_INET if "." in sys.argv[1] else socket.AF_INET6,
                  socket.SOCK_DGRAM)
s.settimeout(20)
how, peer = sys.argv[2], (sys.argv[1], int(sys.argv[3]))
if how == "connect":
    s.connect(peer)
elif how == "connect-send":
    s.connect(peer); s.send(b"x"); s.send(b"y"); s.recv(9)
else:
    s.sendto(b"x", peer); s.sendto(b"y", peer); s.recv(9)
"""


@pytest.mark.parametrize("ip", [SERVER4, SERVER6])
@pytest.mark.parametrize(("how", "op"), [("connect-send", "connect"), ("send", "send")])
def test_a_udp_peer_is_one_connection_however_often_it_sends(
    watched: Watch, ip: str, how: str, op: str
) -> None:
    run = watched(sys.executable, "-c", UDP, ip, how, str(UDP_PORT))

    connection = only(run.of("connection"))
    assert connection["op"] == op
    assert connection["protocol"] == "udp"
    assert connection["dst"]["ip"] == ip
    assert connection["dst"]["port"] == UDP_PORT


def test_a_udp_connect_that_never_sends_is_no_egress(watched: Watch) -> None:
    run = watched(sys.executable, "-c", UDP, OTHER4, "connect", str(UDP_PORT))

    assert run.of("connection") == []
    assert run.end["verdict"] == "clean"


def test_a_mapped_ipv4_peer_is_judged_as_ipv4(watched: Watch) -> None:
    code = (
        "import socket; s = socket.socket(socket.AF_INET6);"
        f"s.connect(('::ffff:{SERVER4}', {HTTP_PORT}))"
    )

    run = watched(sys.executable, "-c", code, policy=POLICY)

    connection = only(run.of("connection"))
    assert connection["family"] == "inet"
    assert connection["dst"]["ip"] == SERVER4


def test_parallel_children_are_told_apart(watched: Watch) -> None:
    good, bad = f"http://{SERVER4}/", f"http://{OTHER4}:{OTHER_PORT}/"
    script = (
        "for i in 1 2 3 4 5 6 7 8; do "
        f"curl -sS {good} >/dev/null & curl -sS {bad} >/dev/null & done; wait"
    )
    policy = f'version = 1\n[[allow]]\ncidr = "{SERVER4}"\nports = [80]\n'

    run = watched("sh", "-c", script, policy=policy)

    assert run.end["connections"] == {"allowed": 8, "violation": 8}
    for connection in run.of("connection"):
        expected = good if connection["verdict"] == "allowed" else bad
        assert connection["process"]["argv"][-1] == expected


def test_a_daemonised_grandchild_is_waited_for_and_seen(
    watched: Watch, build: Callable[[str], str]
) -> None:
    program = build("daemon")

    run = watched(program, OTHER4, str(HTTP_PORT))

    connection = only(run.of("connection"))
    assert connection["dst"]["ip"] == OTHER4
    assert connection["process"]["exe"] == program
    assert run.end["outlived"] == []
