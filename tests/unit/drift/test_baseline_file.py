"""The file of a baseline: one form for each content, read strictly."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.drift.model import Content, Key, Review, TlsValue
from egressmon.drift.toml_form import digest_of, text_of
from egressmon.drift.toml_reading import read_baseline
from egressmon.errors import UsageError
from egressmon.text import printable
from support.reached import (
    Json,
    actor,
    connection,
    look_up,
    module,
    package,
    run_of,
    surface,
)

DIGEST = f"blake3:{'0' * 64}"
REVIEW = Review("Ada", "the new mirror", "2026-11-28", DIGEST)
TEXTS = st.text(min_size=1, max_size=40).map(printable)
LISTS = st.lists(TEXTS, max_size=4).map(lambda found: tuple(sorted(set(found))))


def content_of(folder: Path) -> Content:
    by = package("requests", "2.31.0")
    records = [
        *connection(by=by),
        *connection(None, "198.51.100.7", None, extra={"protocol": "icmp"}),
        *look_up("api.example.org"),
    ]
    return surface(folder, run_of(records)).plain()


def read(folder: Path, text: str) -> Content:
    path = folder / "baseline.toml"
    path.write_text(text)
    return read_baseline(str(path)).content


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    content = content_of(tmp_path)
    path = tmp_path / "baseline.toml"
    path.write_text(text_of(content, (REVIEW,)))

    found = read_baseline(str(path))

    assert found.content == content
    assert found.digest == digest_of(content)
    assert found.reviews == (REVIEW,)


def test_the_file_is_as_people_read_it(tmp_path: Path) -> None:
    text = text_of(content_of(tmp_path), ())

    _, _, body = text.partition("\n[run]\n")
    assert (
        body
        == """\
attribution = ["full"]
policies = ["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
bytes_sent = ["10^3"]
resolvers = ["192.0.2.53/udp"]
blind_spots = ["packet-sockets"]

[packages]
"python:requests" = ["2.31.0"]

[[destination]]
network = "198.51.100.0/24"
protocol = "icmp"
verdicts = ["allowed"]
packages = ["none"]
modules = ["_socket.so"]
programs = ["python3"]
routes = ["python-socket"]
bypass = ["no"]
guard = ["absent"]

[[destination]]
name = "api.example.org"
port = 443
protocol = "tcp"
verdicts = ["allowed"]
packages = ["python:requests"]
modules = ["_socket.so"]
programs = ["python3"]
routes = ["python-socket"]
bypass = ["no"]
guard = ["absent"]

[[lookup]]
name = "api.example.org"
kinds = ["A"]
verdicts = ["allowed"]
packages = ["none"]
modules = ["_socket.so"]
programs = ["python3"]
routes = ["python-socket"]
bypass = ["no"]
"""
    )


def test_the_order_of_events_makes_no_other_file(tmp_path: Path) -> None:
    names = [f"{number}.example.org" for number in range(20)]

    texts = {
        text_of(surface(tmp_path, run_of(*map(connection, order))).plain(), ())
        for order in (names, names[::-1])
    }

    assert len(texts) == 1


def test_the_file_has_no_times_and_no_pids(tmp_path: Path) -> None:
    text = text_of(content_of(tmp_path), ())

    assert "2026" not in text
    assert "pid" not in text


@given(TEXTS, TEXTS, LISTS, st.integers(-1, 65_535))
def test_any_text_is_read_back(
    name: str, protocol: str, values: tuple[str, ...], port: int
) -> None:
    key = Key("destination", name, "", port, protocol)
    content = Content(
        items={key: {"packages": values}},
        versions={name: values},
        facts={"resolvers": values},
        tls={name: {"issuer": values, name: protocol, "days": port, "ok": True}},
    )

    parsed = tomllib.loads(text_of(content, ()))

    assert parsed["destination"][0]["name"] == name
    assert parsed["tls"][name]["issuer"] == [*values]
    assert "\n[[review]]" not in text_of(content, ())


def test_tls_tables_are_kept(tmp_path: Path) -> None:
    tls: dict[str, dict[str, TlsValue]] = {
        "api.example.org:443": {"issuers": ("CN=b", "CN=a"), "days": 3, "ok": True}
    }

    assert read(tmp_path, text_of(Content(tls=tls), ())).tls == tls


def test_comments_and_blanks_make_no_other_content(tmp_path: Path) -> None:
    content = content_of(tmp_path)
    text = text_of(content, ()).replace("port = 443", "port    =   443 # as ever\n")

    assert digest_of(read(tmp_path, text)) == digest_of(content)


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    text = text_of(Content(), ()).replace("version = 1", "version = 2")

    with pytest.raises(UsageError, match="is a baseline of version 2") as caught:
        read(tmp_path, text)

    assert "newer" in caught.value.hint


HEAD = f'version = 1\ndigest = "{DIGEST}"\n'
WRONG = {
    "": "no `version = 1`",
    "version = true": "no `version = 1`",
    "version = 1": "digest is missing",
    "not toml": "not TOML",
    f"{HEAD}more = 1": "unknown key, more",
    f"{HEAD}run = 1": "run is no table",
    f"{HEAD}[run]\nwhat = []": "run has an unknown key",
    f"{HEAD}[packages]\na = 1": "packages.a is no list",
    f"{HEAD}[[destination]]": "not one of name and network",
    f'{HEAD}[[destination]]\nname="a"\nnetwork="b"': "not one of name and network",
    f'{HEAD}[[destination]]\nname="a"\nport="1"': "port is no port",
    f'{HEAD}[[destination]]\nname="a"\nport=70000': "port is no port",
    f'{HEAD}[[destination]]\nname="a"': "protocol is no text",
    f'{HEAD}[[lookup]]\nname="a"\n[[lookup]]\nname="a"': "is there twice",
    f'{HEAD}[[lookup]]\nname="\\u001b"': "characters that are not shown",
    f'{HEAD}[[lookup]]\nname="a\\nb"': "characters that are not shown",
    f'{HEAD}[[lookup]]\nname="##[error]"': "characters that are not shown",
    f'{HEAD}[[lookup]]\nname="{"a" * 3000}"': "no text of at most",
    f'{HEAD}[lookup]\nname="a"': "no list of tables",
    f'{HEAD}[[review]]\nby="a"': "review 1.reason is no text",
    f'{HEAD}[[review]]\nby="a"\nreason="b"\ndate="now"': "review 1.date is missing",
    f"{HEAD}[tls]\na = 1": "tls.a is no table",
    f"{HEAD}[tls.a]\nb = 1.5": "tls.a.b is no text",
}


@pytest.mark.parametrize(("text", "why"), WRONG.items())
def test_what_is_no_baseline_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read(tmp_path, text)


def test_a_baseline_that_could_not_be_read_is_not_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("egressmon.drift.toml_form.MAX_BYTES", 10)

    with pytest.raises(UsageError, match="would be larger than 10 bytes"):
        text_of(Content(), ())


EVIL = [
    "\x1b[2J\n::error::x ##[error] ##vso[a section_start:1 \u202e \\",
    'a"b\n[[x]]',
    "'''\x7f",
    "#" * 300 + "[x]",
    "\u00e9" * 1500,
]


@pytest.mark.parametrize("evil", EVIL)
def test_whatever_evidence_says_is_read_back(tmp_path: Path, evil: str) -> None:
    fields: Json = {
        "by": package(evil, evil, evil),
        "module": module(f"/{evil}", package(evil, evil)),
        "process": actor(f"/{evil}"),
        "test": evil,
        "route": evil,
        "guard": evil,
    }
    records = [
        *connection(evil, **fields, extra={"protocol": evil}),
        *look_up(evil, evil, **fields, resolver=evil),
        {"type": "escape", "what": evil, "path": evil},
    ]
    start = {
        "attribution": evil,
        "policy_digest": evil,
        "blind_spots": [{"name": evil}],
    }
    found = surface(tmp_path, run_of(records, start=start))
    content = found.plain()

    assert found.problems == []
    assert read(tmp_path, text_of(content, ())) == content


def test_what_is_not_there_or_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_baseline(str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="cannot be read"):
        read_baseline("/dev/zero")
    monkeypatch.setattr("egressmon.drift.toml_reading.MAX_BYTES", 10)
    with pytest.raises(UsageError, match="is larger than"):
        read(tmp_path, "version = 1\n")
