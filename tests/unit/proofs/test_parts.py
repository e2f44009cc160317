"""The small parts of a proof: its folder, logs, destinations, and the phases' clock."""

import os
import time
from pathlib import Path

import pytest

from egressmon.errors import UsageError
from egressmon.evidence.phases import Phases
from egressmon.policy.errors import RefusedError
from egressmon.proofs.channel import Channel
from egressmon.proofs.closing import changes, no_secret
from egressmon.proofs.destinations import parse_pattern
from egressmon.proofs.folder import Folder
from egressmon.proofs.known import KnownSecrets
from egressmon.proofs.leaks import search
from egressmon.proofs.logs import Log, matches

TOKEN = "ghp_" + "a1B2c3D4e5" * 3 + "F6g7H8"


def test_a_phase_is_that_of_the_moment() -> None:
    phases = Phases()
    phases.begin("one", 10)
    phases.end(20)
    phases.begin("two", 21)

    found = [phases.at(ktime) for ktime in (9, 10, 20, 21, 10**20)]
    assert found == [None, "one", "one", "two", "two"]


def test_a_phase_that_follows_at_once_has_the_moment() -> None:
    phases = Phases()
    phases.begin("one", 10)
    phases.end(10)
    phases.begin("two", 11)

    assert [phases.at(10), phases.at(11)] == ["one", "two"]


def test_marks_come_in_the_order_of_time() -> None:
    phases = Phases()
    phases.begin("one", 10)

    with pytest.raises(ValueError, match="before the last one"):
        phases.begin("two", 9)


@pytest.mark.parametrize("there", ["a folder", "a file", "a link", "a dead link"])
def test_a_proof_goes_nowhere_where_something_is(tmp_path: Path, there: str) -> None:
    path = tmp_path / "proof"
    match there:
        case "a folder":
            path.mkdir()
        case "a file":
            path.touch()
        case "a link":
            path.symlink_to(tmp_path)
        case _:
            path.symlink_to("nowhere")

    with pytest.raises(UsageError, match="File exists"):
        Folder.make(str(path))


def test_a_proof_follows_no_link_that_is_put_into_it(tmp_path: Path) -> None:
    folder = Folder.make(str(tmp_path / "proof"))
    (tmp_path / "victim").write_text("mine")
    for name in (".a.new", "a", "b"):
        (tmp_path / "proof" / name).symlink_to("../victim")

    folder.write("a", b"x")
    with pytest.raises(FileExistsError):
        folder.create("b")

    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "proof/a").read_text() == "x"


def test_what_others_do_to_a_proof_is_noticed(tmp_path: Path) -> None:
    folder = Folder.make(str(tmp_path / "proof"))
    for name in ("same", "changed", "gone", "linked"):
        folder.write(name, b"x")
    at = tmp_path / "proof"
    (at / "changed").write_bytes(b"y")
    (at / "gone").unlink()
    (at / "linked").unlink()
    (at / "linked").symlink_to("same")
    (at / "new").touch()

    assert sorted(folder.changed()) == ["changed", "gone", "linked"]
    assert folder.unknown() == ["new"]
    assert folder.is_there()
    at.rename(tmp_path / "away")
    at.mkdir()
    assert not folder.is_there()


def test_a_fifo_in_a_files_place_does_not_hold_it_up(tmp_path: Path) -> None:
    folder = Folder.make(str(tmp_path / "proof"))
    folder.write("a", b"x")
    (tmp_path / "proof/a").unlink()
    os.mkfifo(tmp_path / "proof/a")

    assert folder.changed() == ["a"]


def test_leaks_are_found_wherever_they_are(tmp_path: Path) -> None:
    folder = Folder.make(str(tmp_path / "proof"))
    padding = b"harmless line\n" * 400_000
    folder.write("log", padding + b"key " + TOKEN.encode() + b"\n")

    (found,) = search(folder).found

    assert found.startswith("proof/log:400001: ")
    assert TOKEN not in found


# The search takes this for a random secret, as it does few digests.
UNLUCKY = "9f4baf51ee8e210549c072a8e4036564c3bbff6d51dfe6b20fd3e54d0a3b688a"


@pytest.mark.parametrize("key", ["prev", "digest", "head"])
def test_digests_of_our_own_are_no_secrets(tmp_path: Path, key: str) -> None:
    folder = Folder.make(str(tmp_path / "proof"))
    line = f'{{"{key}":"blake3:{UNLUCKY}","phase":"a\\u0000"}}\n'
    folder.write("evidence.jsonl", line.encode())

    assert search(folder).found == []


def test_what_says_that_it_is_a_digest_is_searched(tmp_path: Path) -> None:
    folder = Folder.make(str(tmp_path / "proof"))
    line = f'{{"argv":["\\"prev\\":\\"blake3:{TOKEN}\\""]}}\n'
    folder.write("evidence.jsonl", line.encode())
    folder.write("a.log", f'"prev":"blake3:{TOKEN}"\n'.encode())

    assert len(search(folder).found) == 2


def test_what_cannot_be_read_is_no_secret(tmp_path: Path) -> None:
    folder = Folder.make(str(tmp_path / "proof"))
    folder.write("a", b"x")
    (tmp_path / "proof/a").unlink()

    found = no_secret([folder], KnownSecrets())
    assert (found.result, found.figures) == ("unproven", "0 found")
    assert found.details == ["proof/a cannot be read: No such file or directory"]
    folder.write("b", TOKEN.encode())
    assert no_secret([folder], KnownSecrets()).result == "fails"


def test_a_folder_whose_mode_was_changed_is_written_to_again(tmp_path: Path) -> None:
    folder = Folder.make(str(tmp_path / "proof"))
    assert changes(folder, []) == []
    (tmp_path / "proof").chmod(0)

    assert changes(folder, []) == ["proof: its mode was changed"]
    folder.write("a", b"x")
    assert (tmp_path / "proof/a").read_bytes() == b"x"


def test_each_line_is_waited_for_once() -> None:
    log = Log()
    log.add(b"rea")
    assert not log.has_line("ready")
    log.add(b"dy 1\nready 2\n")

    assert log.has_line("ready")
    assert log.has_line("ready")
    assert not log.has_line("ready")


@pytest.mark.parametrize(
    ("pattern", "line", "wanted"),
    [
        ("ready", "is ready now", True),
        ("Ready", "is ready now", False),
        ("^ready", "is ready", False),
        ("^ready", "ready", True),
        ("^is*now", "is ready now", True),
        ("now*is", "is ready now", False),
        ("a*a", "a", False),
        ("(port 80) [ok].", "at (port 80) [ok].", True),
        ("^*now", "is ready now", True),
        ("*", "", True),
    ],
)
def test_a_pattern_is_a_text_with_gaps(
    pattern: str, line: str, *, wanted: bool
) -> None:
    assert matches(pattern, line) is wanted


def test_no_pattern_and_no_line_takes_long() -> None:
    began = time.process_time()

    for _ in range(100):
        assert not matches("a*" * 499 + "b", "a" * 4096)

    assert time.process_time() - began < 1


def test_a_log_is_bounded_and_without_secrets() -> None:
    log = Log()
    log.add(f"token {TOKEN}\n".encode())
    log.add(b"x" * (5 << 20))

    kept = log.sanitised()

    assert TOKEN.encode() not in kept
    assert len(kept) < (4 << 20) + 100
    assert b"bytes more are left out" in kept[-100:]


@pytest.mark.parametrize(
    ("pattern", "names", "ip", "port", "protocol", "covered"),
    [
        ("any", (), "192.0.2.1", 1, "udp", True),
        ("api.example.org", ("api.example.org",), "192.0.2.1", 1, "tcp", True),
        ("API.example.org.:443", ("api.example.org",), "192.0.2.1", 443, "tcp", True),
        ("*.example.org:443", ("api.example.org",), "192.0.2.1", 80, "tcp", False),
        ("*.example.org", ("a", "api.example.org"), "192.0.2.1", 80, "tcp", True),
        ("192.0.2.1:443/udp", (), "192.0.2.1", 443, "tcp", False),
        ("[2001:DB8::1]:443", (), "2001:db8::1", 443, "tcp", True),
        ("api.example.org", (), "192.0.2.1", 443, "tcp", False),
        ("*.example.org", ("***83a42860.example.org",), "192.0.2.1", 1, "tcp", None),
        ("**.example.org", ("***83a42860.example.org",), "192.0.2.1", 1, "tcp", True),
        ("api.example.org", ("***83a42860.example.org",), "192.0.2.1", 1, "tcp", False),
        ("api.example.org", ("api.exam…",), "192.0.2.1", 1, "tcp", None),
        ("*.example.org:2", ("***83a42860.example.org",), "192.0.2.1", 1, "tcp", False),
        ("*.example.org", ("***0.a", "b.example.org"), "192.0.2.1", 1, "tcp", True),
        ("any:8080", (), "192.0.2.1", 8080, "tcp", True),
        ("any:8080", (), "192.0.2.1", 8081, "tcp", False),
        ("any/tcp", (), "192.0.2.1", 1, "tcp", True),
        ("any/tcp", (), "192.0.2.1", 1, "udp", False),
        ("ANY", (), "192.0.2.1", 1, "tcp", True),
        ("any.:8080/udp", (), "2001:db8::1", 8080, "udp", True),
        ("[2001:db8::1]/icmp", (), "2001:db8::1", None, "icmpv6", True),
        ("192.0.2.1/icmp", (), "192.0.2.1", None, "icmp", True),
    ],
)
def test_destinations(  # noqa: PLR0913, PLR0917 -- a row
    pattern: str,
    names: tuple[str, ...],
    ip: str,
    port: int | None,
    protocol: str,
    covered: object,
) -> None:
    assert parse_pattern(pattern).covers(names, ip, port, protocol) is covered


@pytest.mark.parametrize(
    "pattern",
    [
        "[::ffff:192.0.2.1]:8080",
        "[::ffff:c000:201]",
        "192.0.2.1:8080/icmp",
        "any:1/icmp",
        "0.0.0.0:80",
        "[::]:80",
        "fe80::1%lo",
        "192.0.2.0/24",
        "192.0.2.1.:80",
        "127.1:80",
    ],
)
def test_what_no_record_can_have_is_refused(pattern: str) -> None:
    with pytest.raises(RefusedError):
        parse_pattern(pattern)


@pytest.mark.parametrize("pattern", ["any", "any:8080", "ANY/tcp"])
def test_any_is_what_leaves_this_machine(pattern: str) -> None:
    assert parse_pattern(pattern).is_any
    assert not parse_pattern(pattern).is_exact


def test_a_message_comes_with_its_files() -> None:
    ours, theirs = Channel.pair()
    read, write = os.pipe()
    long = "x" * 1_000_000
    if not os.fork():
        ours.send({"env": long}, write)
        os._exit(0)
    received = theirs.receive()
    ours.close()

    assert received is not None
    assert received[0] == {"env": long}
    assert not os.get_inheritable(received[1][0])
    os.wait()
    assert theirs.receive() is None
    theirs.close()
    for number in (read, write, *received[1]):
        os.close(number)


@pytest.mark.parametrize("data", [b"", b"abc", b"\xff\xff\xff\xff{}", b"\2\0\0\0[]"])
def test_what_is_no_message_is_the_end(data: bytes) -> None:
    import socket  # noqa: PLC0415

    ours, theirs = socket.socketpair()
    ours.sendall(data)
    ours.close()

    assert Channel(theirs).receive() is None
    theirs.close()
