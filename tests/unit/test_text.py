"""Untrusted text cannot control a terminal; durations and destinations are parsed."""

import argparse
import errno
import io
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.cli.options.values import duration, size
from egressmon.cli.policy.explain import parse_destination
from egressmon.errors import UsageError
from egressmon.text import (
    commandless,
    escape,
    failure_of,
    from_bytes,
    guarded,
    printable,
    unescape,
    unguarded,
)


@given(st.text(max_size=300))
def test_printable_text_has_no_control_character(text: str) -> None:
    shown = printable(text)

    assert len(shown) <= 200 * 10
    assert all(ord(one) >= 32 and not 127 <= ord(one) < 160 for one in shown)
    assert not set(shown) & set("\u202e\u2066\u200b\u2028\ufeff")


@given(st.binary(max_size=100))
def test_any_bytes_become_text(data: bytes) -> None:
    assert os.fsencode(from_bytes(data)) == data


@given(st.text(st.characters()))
def test_what_is_escaped_is_printable_and_can_be_had_back(text: str) -> None:
    escaped = escape(text)

    assert escaped.isprintable()
    escaped.encode()
    assert unescape(escaped) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("\x1b[31m", r"\x1b[31m"),
        (r"\x1b[31m", r"\\x1b[31m"),
        ("\x7f", r"\x7f"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("\x9b31m", r"\u009b31m"),
        ("a\u202eb\u2066c\u200fd\u061c", r"a\u202eb\u2066c\u200fd\u061c"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        (os.fsdecode(b"ev\xffil"), r"ev\xffil"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("caf\u00e9 \u05d0 \u65e5\u672c", "caf\u00e9 \u05d0 \u65e5\u672c"),
    ],
)
def test_each_kind_of_character_has_its_form(text: str, escaped: str) -> None:
    assert escape(text) == escaped


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("3", 3), ("1.5s", 1.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1d", "1 s", "1e9"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write 0s"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "bytes_"), [("0", 0), ("64kB", 64_000), ("500MB", 5 * 10**8)]
)
def test_sizes(text: str, bytes_: int) -> None:
    assert size(text) == bytes_


@pytest.mark.parametrize("text", ["", "MB", "-1", "1TB", "1.5GB", "9" * 10])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write 64kB"):
        size(text)


def test_destinations() -> None:
    assert parse_destination("API.example.org:443").names == ("api.example.org",)
    assert str(parse_destination("[2001:db8::1]:53/udp").address) == "2001:db8::1"
    assert parse_destination("127.0.0.1:80").listener == "outside"


@pytest.mark.parametrize(
    "text", ["", "a", "a:0", "a:99999", "a:1/dccp", "2001:db8::1:5"]
)
def test_other_destinations_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a destination"):
        parse_destination(text)


@pytest.mark.parametrize("host", ["1.2.3", "example.7", "0x7f.1", "\uff11.\uff12"])
def test_a_destination_that_ends_in_a_number_is_a_whole_address(host: str) -> None:
    with pytest.raises(UsageError, match="neither a host name nor a whole address"):
        parse_destination(f"{host}:443")


@pytest.mark.parametrize(
    "text",
    ["::error::x", "  \t::set-output name=a::b", "a\n::x", "a\n \n ::x", "x ##[group]y",
     "###[x]", "##vso[task.setvariable]", "##teamcity[x]", "section_start:1:a",
     "section_end:1:a"],
)  # fmt: skip
def test_no_text_is_a_ci_systems_command(text: str) -> None:
    stream = io.StringIO()

    guarded(stream).write(text)

    shown = stream.getvalue()
    assert not re.search(r"^\s*::|##\w*\[|section_(start|end):", shown, re.MULTILINE)
    assert re.sub(r"\\x(..)", lambda one: chr(int(one[1], 16)), shown) == text


def test_other_text_stays_as_it_is() -> None:
    text = "tests/test_net.py::test_fetch (call) ## heading [::1]:80\n1::2\n"

    assert commandless(text) == text
    assert unguarded(guarded(sys.stderr)) is sys.stderr


def test_lines_that_are_written_together_have_no_commands_either() -> None:
    stream = io.StringIO()

    guarded(stream).writelines(["::error::a\n", "##[error]b\n"])

    assert stream.getvalue() == "\\x3a:error::a\n\\x23#[error]b\n"


def test_the_first_write_that_failed_is_kept() -> None:
    with Path("/dev/full").open("w") as full:
        stream = guarded(full)
        assert failure_of(stream) is None
        stream.write("text")
        stream.flush()
        failure = failure_of(stream)
        with suppress(OSError):
            full.close()

    assert failure is not None
    assert failure.errno == errno.ENOSPC
