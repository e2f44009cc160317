"""A sensor that is not whole is never called clean, and never half attached."""

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from egressmon.sensor.scope import find_root
from support.watching import WATCH, Watched, read_evidence, watch


# In a new network namespace loopback is down: the canary datagram cannot be sent,
# so the packet hooks are not proven.
def test_an_unproven_hook_makes_the_run_incomplete(tmp_path: Path) -> None:
    run = watch(tmp_path, "true", prefix=("unshare", "--net"))

    assert run.status == 121
    assert run.end["verdict"] == "incomplete"
    failed = [one for one in run.of("canary") if one["reason"]]
    assert {one["hook"] for one in failed} == {"egress", "ingress"}
    assert "canary egress at the start: could not be sent" in run.stderr


def test_every_canary_is_refused_and_seen_at_both_ends(tmp_path: Path) -> None:
    run = watch(tmp_path, "true")

    canaries = run.of("canary")
    assert len(canaries) == 16
    for when in ("start", "end"):
        hooks = [one["hook"] for one in canaries if one["when"] == when]
        assert len(set(hooks)) == 8
    assert all(one["seen"] and one["sent"] for one in canaries)
    loopback = {"egress", "ingress"}
    assert all(one["refused"] == (one["hook"] not in loopback) for one in canaries)


# The command may use documentation addresses like any other: only the canaries'
# own attempts are refused.
def test_the_command_may_use_documentation_addresses(tmp_path: Path) -> None:
    code = (
        "import socket\n"
        "for ip in ('192.0.2.1', '198.51.100.1', '203.0.113.1'):\n"
        "    s = socket.socket(); s.setblocking(False)\n"
        "    print(s.connect_ex((ip, 50000)))\n"
    )

    # Without a route the kernel says so (ENETUNREACH), after the hook let it pass.
    run = watch(tmp_path, sys.executable, "-c", code, prefix=("unshare", "--net"))

    assert run.stdout.split() == ["101", "101", "101"]
    assert len(run.of("connection")) == 3


# Attach a program to path, through libbpf, so that nobody below may attach another.
CLOSE = """
import ctypes, os, sys
from egressmon.probes.loaders import libbpf
from egressmon.probes.loaders.libbpf import load_object
library = libbpf.library()
image = load_object()
library.bpf_object__open_mem.restype = ctypes.c_void_p
probes = library.bpf_object__open_mem(image, len(image), None)
assert library.bpf_object__load(probes) == 0
program = library.bpf_object__find_program_by_name(probes, b"scope_post_bind4")
library.bpf_program__fd.argtypes = [ctypes.c_void_p]
folder = os.open(sys.argv[1], os.O_RDONLY)
# BPF_CGROUP_INET4_POST_BIND is 12; flags 0: neither override nor multi below.
assert library.bpf_prog_attach(library.bpf_program__fd(program), folder, 12, 0) == 0
print("closed", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def closed_cgroup() -> Generator[Path]:
    """A cgroup whose owner lets nobody below it attach a post_bind4 program."""
    path = find_root() / f"closed_for_egressmon_{os.getpid()}"
    path.mkdir()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", CLOSE, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "closed\n"
            yield path
            process.communicate()
    finally:
        path.rmdir()


def test_a_hook_that_cannot_attach_stops_the_run(
    closed_cgroup: Path, tmp_path: Path
) -> None:
    enter = f'echo $$ >{closed_cgroup}/cgroup.procs; exec "$@"'

    run = watch(
        tmp_path,
        *("touch", str(tmp_path / "ran")),
        prefix=("sh", "-c", enter, "sh"),
    )

    assert run.status == 125
    assert "scope_post_bind4 could not be attached" in run.stderr
    assert not (tmp_path / "ran").exists()
    assert run.records == []


def test_a_watch_inside_a_watch_sees_its_own(tmp_path: Path) -> None:
    inner = tmp_path / "inner.jsonl"
    words = [*WATCH, "--quiet", "--evidence", str(inner), "--"]
    code = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"

    run: Watched = watch(tmp_path, *words, sys.executable, "-c", code)

    assert run.status == 0, run.stderr
    ports = [one["dst"]["port"] for one in run.of("connection")]
    assert 9 in ports
    made = [one for one in read_evidence(inner) if one["type"] == "connection"]
    assert [one["dst"]["port"] for one in made] == [9]
