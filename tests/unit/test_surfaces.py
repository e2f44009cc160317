"""The script that runs SDKs: what it reads of the evidence, and the page."""

import json
from pathlib import Path
from typing import Any

import pytest

from acme import VERSIONS, install
from phases import EvidenceError, Mark, Touched, read
from sdks import SDKS
from surfaces_page import Surface, page, section

MARKS = (Mark("import", 1_000_000_000), Mark("first call", 2_000_000_000))
END: dict[str, Any] = {
    "type": "run.end",
    "time": "1970-01-01T00:00:09Z",
    "incomplete_reasons": [],
}


def connection(time: str, host: str | None, **changes: Any) -> dict[str, Any]:
    names = [] if host is None else [{"name": host}]
    return {
        "type": "connection",
        "time": f"1970-01-01T00:00:{time}Z",
        "rule": None,
        "protocol": "tcp",
        "route": "python-socket",
        "dst": {"ip": "192.0.2.7", "port": 443, "names": names},
        "code": {"package": {"name": "httpcore", "version": "1.0"}},
        "module": None,
        "process": {"comm": "python"},
        **changes,
    }


def touched(*records: dict[str, Any]) -> dict[str, Touched]:
    return read(map(json.dumps, (*records, END)), MARKS)


def test_a_connection_counts_to_the_phase_in_which_it_happened() -> None:
    phases = touched(
        connection("00.5", "early.test"),
        connection("01.000000001", "import.test"),
        connection("02", None),
    )

    assert {name: one.reached for name, one in phases.items()} == {
        "start": {"early.test:443/tcp"},
        "import": {"import.test:443/tcp"},
        "first call": {"192.0.2.7:443/tcp"},
    }


def test_who_connects_is_the_package_and_else_the_program() -> None:
    node = connection("02", "a.test", code=None, process={"comm": "node"})

    phases = touched(connection("01", "a.test"), node)

    assert phases["import"].by == {"httpcore 1.0, python-socket"}
    assert phases["first call"].by == {"node, python-socket"}


def test_the_resolver_is_no_destination() -> None:
    phases = touched(connection("01", None, rule="dns.resolvers"))

    assert phases["import"] == Touched()


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([], "no end"),
        ([connection("01", "a.test")], "no end"),
        ([{**END, "incomplete_reasons": ["lost"]}], "incomplete"),
    ],
)
def test_what_is_incomplete_tells_nothing(
    records: list[dict[str, Any]], why: str
) -> None:
    with pytest.raises(EvidenceError, match=why):
        read(map(json.dumps, records), MARKS)


def test_the_page_says_what_else_than_the_vendor_was_reached() -> None:
    plain = {"import": Touched(), "first call": Touched(), "retry": Touched()}
    plain["import"].reached.add("home.test:443/tcp")
    plain["first call"].reached.add("api.anthropic.com:443/tcp")
    surface = Surface(SDKS[0], "2.0", plain, {"import": Touched()})

    (row,) = [line for line in page([surface]).splitlines() if "2.0 (PyPI) |" in line]

    columns = [one.strip() for one in row.strip("|").split(" | ")]
    assert columns[2:4] == ["`home.test:443/tcp`", "`home.test:443/tcp`"]
    assert columns[5:] == ["on the same connection", "-"]
    assert "| `import` | `home.test:443/tcp` |" in section(surface)


def test_the_newer_version_of_the_package_is_the_one_that_reports(
    tmp_path: Path,
) -> None:
    old, new = VERSIONS

    for version in (old, new):
        install(tmp_path / version, version)

    texts = [(tmp_path / one / "acme_greetings.py").read_text() for one in (old, new)]
    assert ["socket" in text for text in texts] == [False, True]
