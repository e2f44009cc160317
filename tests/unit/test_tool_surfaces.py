"""The script that runs tools where all names lead to a stand-in."""

import io
import json
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

import packages
from answering_names import Addresses, answer
from programs import PROGRAMS
from stand_in import found
from tools_page import Done, destinations, row_of, update

A, HTTPS, IN = 1, 65, 1


def question(name: str, kind: int = A) -> bytes:
    labels = b"".join(bytes([len(one)]) + one.encode() for one in name.split("."))
    return b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0" + labels + struct.pack("!xHH", kind, IN)


def test_every_name_exists_and_has_an_address_of_its_own() -> None:
    addresses = Addresses()
    names = [f"host{number}.example.test" for number in range(50)]

    given = [addresses.of(name) for name in names]

    assert len({*given}) == 50
    assert given == [addresses.of(name) for name in names]
    assert all(one.startswith("198.51.100.") for one in given)
    assert addresses.of("one.more.test") in given


def test_a_query_for_an_address_is_answered_with_one() -> None:
    addresses = Addresses()
    query = question("pypi.org")

    reply = answer(query, addresses)

    assert reply is not None
    assert reply[:4] == b"\x12\x34\x81\x80"
    assert reply[6:8] == b"\0\x01"
    last = bytes(map(int, addresses.of("pypi.org").split(".")))
    assert reply.endswith(b"\0\x04" + last)


def test_other_types_exist_without_a_record() -> None:
    reply = answer(question("pypi.org", HTTPS), Addresses())

    assert reply is not None
    assert reply[6:8] == b"\0\0"


@pytest.mark.parametrize("query", [b"", b"\0" * 12, question("pypi.org")[:-3]])
def test_what_is_no_query_gets_no_answer(query: bytes) -> None:
    assert answer(query, Addresses()) is None


def test_the_wheel_and_the_tarball_can_be_read() -> None:
    with zipfile.ZipFile(io.BytesIO(packages.wheel())) as wheel:
        assert "surface_example.py" in wheel.namelist()
    with tarfile.open(fileobj=io.BytesIO(packages.tarball())) as tarball:
        assert "package/package.json" in tarball.getnames()


def test_they_are_the_same_each_time() -> None:
    assert packages.wheel() == packages.wheel()


def test_each_package_is_where_its_index_says() -> None:
    _, page, _ = found("pypi.org", f"/simple/{packages.NAME}/")
    _, said, _ = found("registry.npmjs.org:443", f"/{packages.NAME}")
    version = json.loads(said)["versions"][packages.VERSION]

    for address in (page.split(b'"')[1].decode(), version["dist"]["tarball"]):
        host, path = address.removeprefix("https://").partition("#")[0].split("/", 1)
        assert found(host, f"/{path}")[0] == 200


def test_nothing_else_is_there() -> None:
    assert found("files.pythonhosted.org", "/other")[0] == 404
    assert found("other.example", "/")[0] == 404


def test_a_row_has_what_the_policy_allows() -> None:
    policy = {
        "allow": [{"host": "b.test"}, {"cidr": "192.0.2.1/32"}, {"host": "b.test"}]
    }

    assert destinations(policy) == ["192.0.2.1/32", "b.test"]
    row = row_of(Done("pip", "26.1", "2026-11-28"), PROGRAMS["pip"], policy)
    assert row.startswith("| `pip` |")
    assert "| `192.0.2.1/32`, `b.test` |" in row
    assert row.endswith("| 26.1, 2026-11-28 |")


def test_a_row_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    begin, end = (
        "<!-- runs: made by scripts/make-surface-examples -->",
        "<!-- /runs -->",
    )
    page.write_text(f"before\n{begin}\n{end}\nafter\n", encoding="utf-8")
    for name in ("pip", "npm"):
        (tmp_path / f"{name}.toml").write_text("version = 1\n", encoding="utf-8")

    for name, version in (("pip", "1.0"), ("npm", "2.0"), ("pip", "1.1")):
        update(page, Done(name, version, "2026-11-28"), PROGRAMS[name], tmp_path)

    lines = page.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if "`" in line]
    assert [row.split("`")[1] for row in rows] == ["npm", "pip"]
    assert "1.1" in rows[1]
    assert (lines[0], lines[-1]) == ("before", "after")
