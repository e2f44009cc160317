"""TCP connections from before a sidecar are in its evidence, though not judged."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.lab import Lab
from support.sidecars import cgroup, inside, sidecar

PAIR = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], 0), family=family)
client = socket.socket(family)
client.connect(server.getsockname())
accepted, _ = server.accept()
print(server.getsockname()[1], client.getsockname()[1], flush=True)
sys.stdin.read()
"""


def own_address(lab: Lab) -> str:
    """Return the address that the test's network has for itself."""
    words = [*lab.enter(), "ip", "-o", "-4", "address", "show", "scope", "global"]
    return subprocess.check_output(words, text=True).split()[3].partition("/")[0]


@pytest.mark.smoke
def test_a_connection_from_before_is_recorded(network: Lab) -> None:
    address = own_address(network)
    with cgroup() as watched, sidecar('enforce = "fail"\n') as one:
        words = [sys.executable, "-I", "-c", PAIR, address]
        held = subprocess.Popen(
            [*network.enter(), *inside(watched, *words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert held.stdout is not None
        server, client = map(int, held.stdout.readline().split())
        policy = str(one.folder / "egress.toml")
        done = one.start("--cgroup", str(watched), "--policy", policy)
        assert done.returncode == 0, done.stderr
        status, answer = one.stop()
        held.communicate("")

        records = one.verified()
        found = [record for record in records if record["type"] == "existing"]
        ends = {(record["local_port"], record["port"]) for record in found}
        assert ends == {(client, server), (server, client)}
        for record in found:
            assert (record["dst"], record["local"]) == (address, address)
            assert record["process"]["pid"] == held.pid
            assert record["process"]["exe"] == str(Path(sys.executable).resolve())
        assert (status, answer["incomplete_reasons"]) == (0, [])
