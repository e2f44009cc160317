"""A file is searched through windows, and nothing at their borders is lost."""

import base64
import gzip
import io
import random
import zlib

import pytest

from egressmon.scan import windows
from egressmon.scan.windows import ExpandsTooFarError, Read, Windows, unpacking


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "CHUNK", 4096)
    monkeypatch.setattr(windows, "LARGEST", 65536)
    monkeypatch.setattr(windows, "_OVERLAP", 1024)
    monkeypatch.setattr(windows, "_CONTEXT", 256)
    monkeypatch.setattr(windows, "_SEARCHED", 512)


def of(data: bytes, step: int = 1000) -> Read:
    stream = io.BytesIO(data)
    return lambda count: stream.read(min(count, step))


def test_each_byte_is_in_one_window_as_what_it_answers_for() -> None:
    data = random.Random(1).randbytes(50_000)  # noqa: S311 -- a test's

    parts = [
        (one.offset + one.first, one.offset + one.end) for one in Windows(of(data))
    ]

    assert parts[0][0] == 0
    assert parts[-1][1] == len(data)
    assert [end for _, end in parts[:-1]] == [start for start, _ in parts[1:]]
    for one in Windows(of(data)):
        assert one.data == data[one.offset : one.offset + len(one.data)]


@pytest.mark.parametrize(
    "between", [b"", b"\n", b"\r\n", b'"\n    "', b'" +\n"', b"\n> ", b"\n// "]
)
@pytest.mark.parametrize("width", [16, 28, 76])
def test_encoded_text_is_in_one_window_as_a_whole(width: int, between: bytes) -> None:
    packed = base64.b64encode(random.Random(2).randbytes(20_000))  # noqa: S311
    lines = (packed[at : at + width] for at in range(0, len(packed), width))
    body = between.join(lines)
    data = b'{"a": "' + b"one, two. " * 300 + body + b'"}' + b"three, four. " * 900

    found = list(Windows(of(data)))

    start, end = data.index(body), data.index(body) + len(body)
    (one,) = (w for w in found if w.first <= start - w.offset < w.end)
    assert one.offset + len(one.data) >= end
    assert not any(one.is_cut for one in found)


def test_text_without_any_mark_is_divided_between_words() -> None:
    found = list(Windows(of(b"lorem ipsum dolor " * 5000)))

    assert not any(one.is_cut for one in found)
    assert max(len(one.data) for one in found) < 10_000


def test_a_run_that_is_too_long_is_cut_and_says_so() -> None:
    found = list(Windows(of(b"A" * 300_000)))

    assert any(one.is_cut for one in found)
    assert max(len(one.data) for one in found) <= 65536 + 4096


def test_a_window_can_be_asked_for_again_with_more_behind_it() -> None:
    data = b"one, two. " * 10_000
    found = Windows(of(data))
    iterator = iter(found)

    first = next(iterator)
    assert found.may_be_larger()
    again = next(iterator)

    assert again.offset == first.offset
    assert len(again.data) > len(first.data)
    assert again.data.startswith(first.data)


def test_a_compressed_file_is_read_as_what_it_holds() -> None:
    data = gzip.compress(b"one\n" * 9000) + gzip.compress(b"two\n" * 9000) + bytes(20)

    read = unpacking(of(data), len(data))

    parts = iter(lambda: read(4096), b"")
    assert b"".join(parts) == b"one\n" * 9000 + b"two\n" * 9000


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (gzip.compress(bytes(100_000))[:-20], EOFError),
        (gzip.compress(bytes(100_000)) + b"garbage", zlib.error),
        (gzip.compress(bytes(100 << 20)), ExpandsTooFarError),
    ],
    ids=["early end", "garbage", "bomb"],
)
def test_a_bad_compressed_file_says_what_is_wrong(
    data: bytes, error: type[Exception]
) -> None:
    read = unpacking(of(data), len(data))

    with pytest.raises(error):
        for _ in iter(lambda: read(1 << 20), b""):
            pass
