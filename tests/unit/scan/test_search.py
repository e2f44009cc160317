"""Files and folders of any kind: what is searched, and what is named instead."""

import base64
import gzip
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from egressmon.sanitise import redaction
from egressmon.scan import windows
from egressmon.scan.search import FileSearch, Leak, Unsearched
from egressmon.scan.walk import entries
from support.secrets import ENCODINGS, filled

KEY = filled("sk-ant-api03-{u93}AA", random.Random(9))  # noqa: S311 -- a test's


def leaks(path: Path) -> Iterator[Leak]:
    for found in FileSearch(str(path)).results():
        assert isinstance(found, Leak), found
        yield found


def test_a_secret_is_found_at_its_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(f"one\ntwo\nthree {KEY}\n{KEY}\n")

    found = [(one.line, one.column, one.kind) for one in leaks(path)]

    assert found == [(3, 7, "anthropic-key"), (4, 1, "anthropic-key")]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_secret_anywhere_at_the_borders_of_windows_is_found_once(
    tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "CHUNK", 8192)
    monkeypatch.setattr(windows, "_OVERLAP", 4096)
    monkeypatch.setattr(windows, "_CONTEXT", 2048)
    monkeypatch.setattr(windows, "_SEARCHED", 1024)
    path = tmp_path / "log"
    secret = ENCODINGS[encoding](f" {KEY} ".encode())
    for place in range(3600, 8400, 311):
        before = (b"lorem, ipsum. " * 700)[:place]
        path.write_bytes(before + b' "' + secret + b'" ' + b"dolor, sit. " * 900)

        assert [one.kind for one in leaks(path)] == ["anthropic-key"], place


def test_lines_are_counted_through_all_windows(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as out:
        for _ in range(40):
            out.write(f"{'some text, '.join('x' * 50_000)}\n{KEY}\n")

    assert [one.line for one in leaks(path)] == list(range(2, 81, 2))


def test_a_compressed_file_is_searched_with_the_lines_of_what_it_holds(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(b"text, text\n" * 500_000 + KEY.encode()))

    assert [(one.line, one.kind) for one in leaks(path)] == [(500_001, "anthropic-key")]


def test_a_compressed_body_that_crosses_windows_is_searched_whole(
    tmp_path: Path,
) -> None:
    text = random.Random(1).randbytes(2 << 20).hex(" ")  # noqa: S311 -- a test's
    body = gzip.compress(f"{text} {KEY}".encode())
    assert len(body) > 2 * windows.CHUNK
    path = tmp_path / "dump"
    path.write_bytes(b"HTTP/1.1 200 OK\r\n\r\n" + body + b"\r\nend of it, at last.\r\n")

    assert [one.encodings for one in leaks(path)] == [("compressed",)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (gzip.compress(bytes(4 << 20)), "unpacks to too much"),
        (b"body: " + base64.b64encode(gzip.compress(bytes(4 << 20))), "not all was"),
        (gzip.compress(bytes(99))[:-9], "ends early"),
        (gzip.compress(KEY.encode()) + b"\0not gzip", "damaged"),
        (
            b"body: " + base64.b64encode(gzip.compress(bytes(range(256)))[:-9]),
            "ends early",
        ),
    ],
    ids=["bomb", "bomb inside", "early end", "garbage", "early end inside"],
)
def test_what_cannot_be_searched_to_its_end_is_named(
    tmp_path: Path, data: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redaction, "_LEAST_BUDGET", 1 << 20)
    monkeypatch.setattr(windows, "_LEAST_UNPACKED", 1 << 20)
    path = tmp_path / "file"
    path.write_bytes(data)

    found = list(FileSearch(str(path)).results())

    assert isinstance(found[-1], Unsearched)
    assert reason in found[-1].reason


def test_links_pipes_and_sockets_are_named_and_not_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("text")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))

    found = {Path(one.path).name: one.reason for one in entries([str(tmp_path)])}

    assert found == {
        "file": "",
        "pipe": "a pipe is not followed or read",
        "link": "a symbolic link is not followed or read",
        "loop": "a symbolic link is not followed or read",
        "socket": "a socket is not followed or read",
        ".git": "the store of a Git repository is left out",
    }
    asked = list(entries([str(tmp_path / "pipe"), str(tmp_path / "gone"), "/dev/null"]))
    assert all(one.is_problem for one in asked)


def test_a_file_that_became_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    (found,) = FileSearch(str(tmp_path / "pipe")).results()

    assert isinstance(found, Unsearched)


def test_a_file_that_blocks_who_reads_it_is_named() -> None:
    # A regular file, by its mode. Without root it cannot be opened, which is as good.
    (found,) = FileSearch("/proc/kmsg").results()

    assert isinstance(found, Unsearched)


def test_folders_are_searched_to_any_depth(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(300):
        folder /= "a"
    folder.mkdir(parents=True)
    (folder / "file").write_text("text")

    assert [one.reason for one in entries([str(tmp_path)])] == [""]


@pytest.mark.parametrize("mark", ["%20", r"\u0020", r"\x20"])
def test_a_digest_at_the_border_of_what_is_decoded_is_none(mark: str) -> None:
    chance = random.Random(7)  # noqa: S311 -- to be repeated
    for pad in range(380, 520, 3):
        digest = chance.randbytes(32).hex()
        text = f'"a{mark}b{" x" * (pad // 2)}","sum":"blake3:{digest}","c":1'

        assert redaction.scan_text(text) == []
        assert redaction.scan_text(f'"sum":"{digest}{" x" * 120}{mark}b"') == []


def test_a_digest_at_the_border_of_what_is_unpacked_is_none() -> None:
    chance = random.Random(7)  # noqa: S311 -- to be repeated
    lines = b"".join(
        b'"sum":"blake3:%s"\n' % chance.randbytes(32).hex().encode()
        for _ in range(60_000)
    )
    assert redaction.scan_text(b"x" + gzip.compress(lines, 1)) == []


@pytest.mark.parametrize("key", ['"prev":"', '"head":"', '"head": "'])
def test_digests_of_evidence_are_not_searched(tmp_path: Path, key: str) -> None:
    path = tmp_path / "file"
    digest = random.Random(7).randbytes(32).hex()  # noqa: S311 -- to be repeated
    path.write_text(f'{key}blake3:{digest}"\npassword = "blake3:{digest}"\n')

    found = [one for one in FileSearch(str(path)).results() if isinstance(one, Leak)]
    assert [one.line for one in found] == [2]


@pytest.mark.parametrize("name", ["named-secret", "authorization"])
def test_how_many_were_masked_is_no_secret(name: str) -> None:
    assert redaction.scan_text(f'"masked":{{"{name}":1191,"jwt":12345678}}') == []


@pytest.mark.parametrize("first", [True, False])
def test_a_digest_of_http_has_its_parts_in_any_order(first: bool) -> None:  # noqa: FBT001
    parts = [f'response="{"0123456789abcdef" * 2}"', 'username="bob"']
    header = ", ".join(parts if first else parts[::-1])

    (leak,) = redaction.scan_text(f"Authorization: Digest {header}")
    assert leak.kind == "authorization"


@pytest.mark.parametrize("damage", ["behind", "checksum", "early", "inside"])
def test_a_damaged_compressed_file_is_searched_as_far_as_it_goes(
    tmp_path: Path, damage: str
) -> None:
    noise = random.Random(1).randbytes(9000)  # noqa: S311 -- a test's
    packed = gzip.compress(f"one\n{KEY}\n".encode() + noise)
    path = tmp_path / "log.gz"
    path.write_bytes(
        {
            "behind": packed + b"text",
            "checksum": packed[:-8] + bytes(8),
            "early": packed[:-2000],
            "inside": packed[:-2000] + b"\xff" * 2000,
        }[damage]
    )

    leak, unsearched = FileSearch(str(path)).results()

    assert isinstance(leak, Leak)
    assert (leak.line, leak.kind) == (2, "anthropic-key")
    assert isinstance(unsearched, Unsearched)


def test_the_header_of_a_compressed_file_is_searched(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    with path.open("wb") as out, gzip.GzipFile(KEY, "wb", fileobj=out) as packed:
        packed.write(b"text")

    assert [(one.line, one.kind) for one in leaks(path)] == [(1, "anthropic-key")]
