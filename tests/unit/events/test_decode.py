"""Valid bytes are decoded into frozen values, and all others are refused."""

import contextlib
import ipaddress
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.events.decode import DecodeError, decode, kind_of
from egressmon.events.model import (
    CgroupChanged,
    DnsPacket,
    Executed,
    Exited,
    Flow,
    Forked,
)
from egressmon.probes.wire import CONSTANTS
from support.events import dns, event, executed, flow

KINDS = {name: CONSTANTS[name] for name in CONSTANTS if name.startswith("KIND_")}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_the_header_has_a_reader_and_a_name(name: str) -> None:
    head = bytes(8) + KINDS[name].to_bytes(4, "little")

    # Too short for any kind: who knows it says so, and nothing else.
    with pytest.raises(DecodeError, match=r"12 of \d+ bytes"):
        decode(head)
    assert not kind_of(head).startswith("kind "), f"{name}: no name in decode.py"


def test_no_two_kinds_have_the_same_number() -> None:
    assert len(set(KINDS.values())) == len(KINDS)


def test_a_flow_keeps_what_the_kernel_said() -> None:
    found = decode(flow("203.0.113.9", 443, uid=1000, tid=101))

    assert isinstance(found, Flow)
    assert found.operation == "connect"
    assert found.address == ipaddress.ip_address("203.0.113.9")
    assert (found.port, found.pid, found.tid, found.uid) == (443, 100, 101, 1000)
    assert found.comm == "client"


def test_a_mapped_address_is_ipv4_and_another_is_not() -> None:
    mapped = decode(flow("::ffff:192.0.2.1", 1))
    native = decode(flow("2001:db8::1", 1))

    assert isinstance(mapped, Flow)
    assert isinstance(native, Flow)
    assert mapped.address == ipaddress.ip_address("192.0.2.1")
    assert native.address == ipaddress.ip_address("2001:db8::1")


def test_process_events() -> None:
    forked = decode(event("process_event", "KIND_FORK", tgid=5, parent=4, uid=3))
    exited = decode(event("process_event", "KIND_EXIT", tgid=5, exit_code=256))

    assert isinstance(forked, Forked)
    assert (forked.pid, forked.parent, forked.uid) == (5, 4, 3)
    assert forked.shares_memory is False
    assert isinstance(exited, Exited)
    assert exited.code == 256


def test_a_child_that_has_its_parents_memory() -> None:
    forked = decode(event("process_event", "KIND_FORK", tgid=5, shares_memory=1))

    assert isinstance(forked, Forked)
    assert forked.shares_memory is True


def test_each_event_of_a_process_names_its_cgroup() -> None:
    forked = decode(
        event("process_event", "KIND_FORK", tgid=5, cgroup=77, pid_inside=1)
    )
    ran = decode(event("exec_event", "KIND_EXEC", tgid=5, cgroup=78, pid_inside=2))
    called = decode(flow("192.0.2.1", 443, cgroup=79))
    asked = decode(dns("192.0.2.53", b"", cgroup=80))

    assert isinstance(forked, Forked)
    assert isinstance(ran, Executed)
    assert (forked.cgroup, forked.pid_inside) == (77, 1)
    assert (ran.cgroup, ran.pid_inside) == (78, 2)
    assert isinstance(called, Flow)
    assert isinstance(asked, DnsPacket)
    assert (called.cgroup, asked.cgroup) == (79, 80)


@pytest.mark.parametrize("size", [1, CONSTANTS["CGROUP_PATH_SIZE"] - 1])
def test_a_cgroup_that_is_made_has_its_path(size: int) -> None:
    found = decode(
        event(
            "cgroup_event", "KIND_CGROUP", tgid=3, cgroup=9, is_made=1, uid=5,
            path=b"/" * size, path_size=size,
        )
    )  # fmt: skip

    is_cut = size > 1
    assert found == CgroupChanged(
        0, 3, 9, is_made=True, path="/" * size, uid=5, is_cut=is_cut
    )


def test_an_exec_keeps_its_arguments_as_bytes() -> None:
    found = decode(executed(9, b"client", b"--flag", b"\xff"))

    assert isinstance(found, Executed)
    assert found.arguments == b"client\0--flag\0\xff\0"
    assert found.path == "/bin/client"


def test_bytes_behind_the_payload_are_left_out() -> None:
    found = decode(dns("192.0.2.53", b"payload", port=1234) + b"stale ring memory")

    assert isinstance(found, DnsPacket)
    assert found.payload == b"payload"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 11,
        event("process_event", "KIND_FORK")[:-1],
        flow("192.0.2.1", 1)[:-1],
        executed(1, b"a")[:-1],
        dns("192.0.2.53", b"abc")[:-1],
        b"\0" * 8 + (99).to_bytes(4, "little") + b"\0" * 500,
    ],
)
def test_short_and_unknown_events_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data)


@given(st.binary(max_size=600))
def test_any_bytes_are_an_event_or_refused(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        decode(data)


def test_an_invalid_comm_keeps_its_bytes() -> None:
    found = decode(flow("192.0.2.1", 1, comm=b"a\xffb\n"))

    assert isinstance(found, Flow)
    assert os.fsencode(found.comm) == b"a\xffb\n"
