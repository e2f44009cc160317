"""A request is one line of JSON, and a phase's name is text for people."""

import json

import pytest

from egressmon.sidecar.requests import (
    MAX_REQUEST,
    Request,
    RequestError,
    read_request,
    why_no_phase,
)


def test_a_request() -> None:
    line = b'{"verb": "mark", "phase": "build", "token": "t", "later": [1]}'

    assert read_request(line) == Request("mark", "build", "t")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b'"stop"',
        b"{}",
        b'{"verb": null}',
        b'{"verb": "quit"}',
        b'{"verb": "STOP"}',
        b'{"verb": ["stop"]}',
        b'{"verb": "stop", "token": 7}',
        b'{"verb": "stop", "token": true}',
        b'{"verb": "mark", "phase": {}}',
        b'{"verb": "stop"} {"verb": "stop"}',
        b'{"verb": "stop\\u0000"}',
        b'{"verb": "mark", "phase": "\\ud800"}',
        b'{"verb": "mark", "phase": "\xff"}',
        b'{"verb": "mark", "phase": "\xed\xa0\x80"}',
        b'{"verb": "mark", "phase": "a\x00b"}',
        b"\xef\xbb\xbf{}",
        b"[" * (MAX_REQUEST - 1),
        b'{"a":' * 800 + b"1" + b"}" * 800,
        b"NaN",
        b"\x00" * 100,
    ],
)
def test_what_is_no_request(line: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        read_request(line)

    assert str(caught.value).isprintable()


def test_the_token_is_not_shown() -> None:
    assert "secret" not in repr(Request("stop", token="secret"))  # noqa: S106


@pytest.mark.parametrize(
    "name", ["build", "a", "x" * 100, "integration tests", "Größe", "日本", "a::b"]
)
def test_names_of_phases(name: str) -> None:
    assert why_no_phase(name) == ""
    line = json.dumps({"verb": "mark", "phase": name}).encode()
    assert read_request(line).phase == name


@pytest.mark.parametrize(
    "name",
    [
        None,
        "",
        " ",
        " build",
        "build ",
        "x" * 101,
        "a\nb",
        "a\x00b",
        "\x1b[31mred",
        "a\u202eb",
        "a\u2028b",
        "a\u200bb",
        "\udcff",
        "::error::x",
        "##[error]x",
        "##vso[task.setvariable]x",
        "##teamcity[x]",
        "section_start:1:x",
        "section_end:1:x",
    ],
)
def test_names_that_are_refused(name: str | None) -> None:
    assert why_no_phase(name)
