"""Processes that were there before: what is known of them, and until when."""

import os
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from egressmon.attribution import existing
from egressmon.attribution.existing import Existing, found
from egressmon.attribution.processes import Processes
from egressmon.clock import ahead_ns
from egressmon.events.decode import decode
from egressmon.events.model import Executed, Flow, Forked
from egressmon.files.beginning import ELSEWHERE
from support.events import event, flow

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
BEGAN_NS = 500 * TICK_NS - ahead_ns()
OWN = tuple(Path(f"/proc/self/ns/{kind}").stat().st_ino for kind in ("mnt", "user"))


def older(pid: int = 100, mounts: int = OWN[0]) -> Existing:
    return Existing(
        pid, 1, 7, "older", 500, "/usr/bin/older", True, b"older\0-v\0", mounts, OWN[1]
    )


@pytest.fixture
def processes() -> Processes:
    known = Processes(proc_is_ours=True)
    known.add_existing([older()], {})
    return known


def made_by(start_ns: int, exec_id: int) -> Flow:
    decoded = decode(flow("10.0.0.1", 80, start_ns=start_ns, exec_id=exec_id))
    assert isinstance(decoded, Flow)
    return decoded


def test_its_first_event_says_when_it_began_and_what_it_runs(
    processes: Processes,
) -> None:
    actor, why = processes.actor(made_by(BEGAN_NS + 123, 9))

    assert actor is not None
    assert (actor.exe, actor.argv, actor.ppid) == ("/usr/bin/older", ["older", "-v"], 1)
    assert why is None
    assert not processes.is_lost(made_by(BEGAN_NS + 123, 9))
    assert processes.is_lost(made_by(BEGAN_NS + 123, 10))  # an exec was missed


@pytest.mark.parametrize("start_ns", [BEGAN_NS - 1, BEGAN_NS + TICK_NS, 1])
def test_another_of_the_same_pid_is_not_taken_for_it(
    processes: Processes, start_ns: int
) -> None:
    actor, why = processes.actor(made_by(start_ns, 9))

    assert actor is not None
    assert actor.exe is None
    assert why is not None


def test_its_child_runs_what_it_runs(processes: Processes) -> None:
    forked = decode(
        event("process_event", "KIND_FORK", tgid=200, parent=100, exec_id=9, start_ns=5)
    )
    assert isinstance(forked, Forked)

    child = processes.forked(forked)

    assert (child.exe, child.argv) == ("/usr/bin/older", ["older", "-v"])


def test_what_it_ran_before_its_first_exec_is_remembered(processes: Processes) -> None:
    decoded = decode(
        event(
            "exec_event",
            "KIND_EXEC",
            b"new\0",
            tgid=100,
            start_ns=BEGAN_NS + 1,
            exec_id=10,
            arguments_size=4,
            payload_size=4,
            path=b"/bin/new",
        )
    )
    assert isinstance(decoded, Executed)
    processes.executed(decoded)

    before, _ = processes.actor(made_by(BEGAN_NS + 1, 9))
    now, _ = processes.actor(made_by(BEGAN_NS + 1, 10))

    assert before is not None
    assert now is not None
    assert before.exe == "/usr/bin/older"
    assert now.argv == ["new"]


def test_what_sees_other_files_is_a_claim() -> None:
    known = Processes(proc_is_ours=True)
    known.add_existing([older(mounts=1)], {})

    process = known.get(100)
    assert process is not None
    assert process.exe_claimed == ELSEWHERE


def test_what_meets_it_changes_what_lines_rest_on(processes: Processes) -> None:
    before = processes.basis(100)
    processes.actor(made_by(BEGAN_NS + 123, 9))

    assert processes.basis(100) != before


def test_this_process_and_a_child_are_found_and_kernel_threads_are_not() -> None:
    child = subprocess.Popen(
        [sys.executable, "-I", "-c", "input()", "a b"], stdin=subprocess.PIPE
    )
    known = {one.pid: one for one in found([os.getpid(), child.pid, 2, 2**22 + 5])}
    child.communicate()

    assert set(known) == {os.getpid(), child.pid}
    one = known[child.pid]
    assert one.parent == os.getpid()
    assert one.uid == os.getuid()
    assert one.mounts == OWN[0]
    assert one.exe == os.path.realpath(sys.executable)


def test_arguments_that_keep_a_reader_waiting_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(existing, "_PATIENCE_S", 0.2)
    real = cast("Any", existing)._read  # noqa: SLF001 -- what is slow

    def read(path: str, limit: int) -> bytes:
        if path.endswith("/cmdline"):
            threading.Event().wait()
        return bytes(real(path, limit))

    monkeypatch.setattr(existing, "_read", read)
    (one,) = found([os.getpid()])

    assert one.arguments is None
    assert one.exe is not None


@pytest.mark.parametrize("data", [b"", b"\1", struct.pack("=II", 5, 9) + b"short"])
def test_half_an_answer_is_none(data: bytes) -> None:
    assert cast("Any", existing)._unpacked(data) == {}  # noqa: SLF001 -- a cut answer
