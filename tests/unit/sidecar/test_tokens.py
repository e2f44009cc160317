"""The token is made once, known by its digest, and kept where others cannot read."""

import os
import stat
from pathlib import Path

import pytest

from egressmon.errors import UsageError
from egressmon.sidecar.tokens import (
    digest_of,
    fits,
    make_token,
    read_token,
    receive_token,
    write_token,
)


def kept(folder: Path, content: bytes, mode: int = 0o600) -> str:
    path = folder / "token"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_tokens_differ_and_fit_their_digest_alone() -> None:
    one, other = make_token(), make_token()

    assert len(one) == 32
    assert one != other
    assert fits(one, digest_of(one))
    for wrong in (None, "", other, one + "\n", one[:-1], "\ud800", "x" * 4000):
        assert not fits(wrong, digest_of(one))
    assert one.encode() not in digest_of(one)


def test_a_token_is_written_and_read(tmp_path: Path) -> None:
    path, token = str(tmp_path / "token"), make_token()
    old = os.umask(0)
    try:
        write_token(path, token)
    finally:
        os.umask(old)

    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert read_token(path) == token


def test_no_file_is_replaced_and_no_link_followed(tmp_path: Path) -> None:
    there = kept(tmp_path, b"mine")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "new")

    for path in (there, str(link), str(tmp_path)):
        with pytest.raises(UsageError, match="exists already") as caught:
            write_token(path, "t")
        assert caught.value.hint
    assert Path(there).read_bytes() == b"mine"
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        write_token(str(tmp_path / "none/token"), "t")


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o601, 0o777])
def test_what_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(UsageError, match="others than its owner") as caught:
        read_token(kept(tmp_path, b"token\n", mode))

    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"two words", b"a\nb\n", b"\xff\xfe", b"x" * 2000, b"a\x00b", b"\0"],
)
def test_what_is_no_token(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UsageError, match="token"):
        read_token(kept(tmp_path, content))


def test_what_is_no_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)

    for path in (str(pipe), str(tmp_path)):
        with pytest.raises(UsageError, match="no regular file"):
            read_token(path)
    for path in (str(tmp_path / "none"), "a\0b", ""):
        with pytest.raises(UsageError, match="cannot be read"):
            read_token(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_another_users_file_is_refused_unless_that_user_asks(tmp_path: Path) -> None:
    path = kept(tmp_path, b"token\n")
    os.chown(path, 1234, 1234)

    with pytest.raises(UsageError, match="belongs to uid 1234"):
        read_token(path)
    assert read_token(path, {1234}) == "token"


def piped(data: bytes, *, is_closed: bool = True) -> int:
    reading, writing = os.pipe()
    os.write(writing, data)
    if is_closed:
        os.close(writing)
    return reading


@pytest.mark.parametrize("data", [b"token", b"token\n", b"token\r\n", b"token\nmore"])
def test_a_token_through_a_pipe(data: bytes) -> None:
    assert receive_token(piped(data)) == "token"


def test_a_pipe_that_stays_open_is_not_waited_for_after_the_line() -> None:
    assert receive_token(piped(b"token\n", is_closed=False)) == "token"


@pytest.mark.parametrize("data", [b"", b"\n", b"no token", b"x" * 5000])
def test_no_token_through_a_pipe(data: bytes) -> None:
    with pytest.raises(UsageError, match="standard input"):
        receive_token(piped(data))


def test_a_closed_standard_input() -> None:
    with pytest.raises(UsageError, match="standard input"):
        receive_token(9999)
