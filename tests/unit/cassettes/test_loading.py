"""Cassettes are anybody's files: what is none is malformed, and harms nothing."""

from pathlib import Path

import pytest

from egressmon.cassettes.loading import MalformedError, read_cassette

GOOD = """\
interactions:
- request: {body: null, headers: {}, method: GET, uri: 'http://h.test/'}
  response:
    body: {string: !!binary aGVsbG8=}
    headers: &id001
      a: ['1:20', 2001-01-01]
    status: {code: 200, message: OK}
- request: {body: null, headers: *id001, method: GET, uri: 'http://h.test/'}
  response:
    body: {string: 'a text'}
    headers: *id001
    status: {code: 404, message: OK}
version: 1
"""
LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


def test_what_vcr_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)

    one, other = read_cassette(str(path))

    assert (one.status, one.body, other.status, other.body) == (
        200,
        b"hello",
        404,
        b"a text",
    )
    assert one.headers == {"a": ["1:20", "2001-01-01"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no list of `interactions`"),
        ("- a\n", "no list of `interactions`"),
        ("interactions: 1\n", "no list of `interactions`"),
        ("interactions: []\nversion: 2\n", "another version"),
        ("interactions: [1]\n", "interaction 1"),
        ("interactions: [{request: {}, response: {}}]\n", "interaction 1"),
        (GOOD.replace("200", "x"), "its status is no number"),
        (GOOD.replace("'a text'", "[1]"), "list where a text should be"),
        ("interactions: !!python/object/apply:os.system [id]\n", "no plain value"),
        ("interactions: !!python/name:os.system\n", "no plain value"),
        ("interactions: !!timestamp 2001-99-99\n", "no plain value"),
        ("interactions: !!int '1:1'\n", "no plain value"),
        ("interactions: !custom x\n", "no plain value"),
        ("interactions: &a [*a]\n", "contains itself"),
        (LAUGHS, "more than"),
        ("a: &a {x: 1}\ninteractions: [{<<: *a}]\n", "interaction 1"),
        ("[" * 5000, "nest"),
        ("{a: " * 5000, "nest"),
        ("a: [\n", "did not find expected node content"),
        ("interactions: []\n---\ninteractions: []\n", "a single document"),
        ("\tinteractions: []\n", "cannot start any token"),
        ("? [a]\n: b\n", "unhashable"),
        ("interactions: !!binary '%'\n", "no list of"),
        ("\ufeffinteractions: x", "no list of"),
    ],
    ids=lambda value: value[:20],
)
def test_what_is_no_cassette(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)

    with pytest.raises(MalformedError, match=said):
        read_cassette(str(path))


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\x00", b"interactions: \x00", b"a: \x80", b"\x1f\x8b" * 50]
)
def test_what_is_no_text(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(data)

    with pytest.raises(MalformedError):
        read_cassette(str(path))


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, '{"interactions": ' + "1" * 5000 + "}", "{]", "NaN"]
)
def test_what_is_no_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)

    with pytest.raises(MalformedError):
        read_cassette(str(path))


def test_a_cassette_in_json(tmp_path: Path) -> None:
    path = tmp_path / "good.json"
    request = '{"method": "GET", "uri": "http://h.test/", "headers": {}, "body": null}'
    response = '{"status": {"code": 200}, "headers": {}, "body": {"string": "x"}}'
    one = f'{{"request": {request}, "response": {response}}}'
    path.write_text(f'{{"interactions": [{one}]}}')

    (found,) = read_cassette(str(path))
    assert found.body == b"x"


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(5 << 30)

    with pytest.raises(MalformedError, match="larger than"):
        read_cassette(str(path))
