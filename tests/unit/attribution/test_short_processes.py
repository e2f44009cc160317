"""Many short processes: little is asked or done again, and no secret is kept."""

import errno
import os

import pytest

from egressmon import files
from egressmon.attribution.processes import Processes, commands
from egressmon.events.decode import decode
from egressmon.events.glance import ended_in, tells_of_processes_alone
from egressmon.events.model import Executed
from egressmon.sanitise import sanitise_argv
from support.events import event, executed, flow


class Asked:
    """Opens nothing, and notes what it was asked for."""

    def __init__(self) -> None:
        self.paths: list[bytes] = []

    def open(self, path: bytes, kind: files.Kind) -> int:
        self.paths.append(path)
        raise FileNotFoundError(errno.ENOENT, f"{os.strerror(errno.ENOENT)} {kind}")


def _exec(pid: int, *argv: bytes) -> Executed:
    decoded = decode(executed(pid, *argv))
    assert isinstance(decoded, Executed)
    return decoded


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(files, "_opener", asked)
    return asked


def test_whose_last_event_is_its_exit_has_ended() -> None:
    exits = [
        event("process_event", "KIND_EXIT", tgid=pid, start_ns=1) for pid in (1, 2, 3)
    ]
    again = event("process_event", "KIND_FORK", tgid=2, start_ns=5)

    assert ended_in([*exits, again, executed(3, b"x"), b"short"]) == {1}
    assert ended_in([executed(1, b"x"), *exits]) == {1, 2, 3}
    assert ended_in([]) == frozenset()


def test_nobody_is_asked_for_the_files_of_a_process_that_has_ended(
    asked: Asked,
) -> None:
    files.begin_batch(frozenset({100}))
    for path in ("/proc/100/exe", "/proc/100/root", "/proc/101/exe", "/bin/x"):
        with pytest.raises(FileNotFoundError):
            files.open_place(path)
    assert asked.paths == [b"/proc/101/exe", b"/bin/x"]

    files.begin_batch()
    with pytest.raises(FileNotFoundError):
        files.open_place("/proc/100/exe")
    assert asked.paths[-1] == b"/proc/100/exe"


def test_a_program_is_looked_at_once_in_a_batch(asked: Asked) -> None:
    known = Processes(proc_is_ours=True)
    for _ in range(2):
        files.begin_batch(frozenset({100, 101}))
        for pid in (100, 101):
            known.executed(_exec(pid, b"x"))

    assert asked.paths == [b"/bin/client"] * 2


def test_only_commands_without_secrets_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    masked: list[list[str]] = []

    def mask(argv: list[str], mode: str) -> list[str]:
        masked.append(argv)
        return sanitise_argv(argv, mode)  # type: ignore[arg-type]

    monkeypatch.setattr(commands, "sanitise_argv", mask)
    known = Processes(proc_is_ours=False)
    for pid in (100, 101, 102):
        plain = known.executed(_exec(pid, b"make", b"all"))
        secret = known.executed(_exec(pid, b"client", b"--token", b"hunter2"))
        assert plain.argv == ["make", "all"]
        assert secret.argv == ["client", "--token", "***"]

    assert masked.count(["make", "all"]) == 1
    assert masked.count(["client", "--token", "hunter2"]) == 3
    assert "hunter2" not in repr(vars(known))


def test_a_batch_with_a_connection_tells_of_more_than_processes() -> None:
    assert tells_of_processes_alone([executed(1, b"x")])
    assert not tells_of_processes_alone([executed(1, b"x"), flow("192.0.2.1", 443)])
    assert not tells_of_processes_alone([b"short"])
