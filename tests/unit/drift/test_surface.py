"""What runs reached, as their evidence says."""

import re
from pathlib import Path
from typing import Any

import pytest

from egressmon.drift.model import Key, Run, Surface
from egressmon.drift.surface import order_of, surface_of
from egressmon.errors import UsageError
from support.reached import (
    actor,
    connection,
    look_up,
    module,
    package,
    run_of,
    surface,
    write,
)

API = Key("destination", "api.example.org", "", 443, "tcp")


def values(found: Surface, key: Key, aspect: str) -> list[str]:
    return sorted(found.items[key].aspects.get(aspect, {}))


def test_a_destination_has_its_name_and_who_connects(tmp_path: Path) -> None:
    by = package("requests", "2.31.0")
    native = module("/venv/lib/_ssl.so", package("cpython", "3.11.2", "cpython"))
    records = connection(by=by, module=native, test="t.py::a (call)")

    found = surface(tmp_path, run_of(records))

    assert found.problems == found.notes == []
    assert [*found.items] == [API]
    assert values(found, API, "packages") == ["cpython:cpython", "python:requests"]
    assert values(found, API, "modules") == ["_ssl.so"]
    assert values(found, API, "programs") == ["python3"]
    assert values(found, API, "routes") == ["python-socket"]
    assert values(found, API, "bypass") == ["no"]
    assert values(found, API, "guard") == ["absent"]
    assert sorted(found.versions["python:requests"]) == ["2.31.0"]
    who = found.items[API].seen.who
    assert who.package == "python:requests 2.31.0"
    assert who.test == "t.py::a (call)"


def test_addresses_without_a_name_are_grouped_by_network(tmp_path: Path) -> None:
    records = [
        *connection(None, "198.51.100.7"),
        *connection(None, "198.51.100.8"),
        *connection(None, "2001:db8:1:2::3"),
        *connection(None, "::ffff:203.0.113.9"),
        *connection(None, "127.0.0.53"),
        *connection(None, "64:ff9b::198.51.100.7"),
        *connection(None, "64:ff9b::203.0.113.9"),
    ]

    found = surface(tmp_path, run_of(records))

    assert sorted(key.network for key in found.items) == [
        "127.0.0.0/8", "198.51.100.0/24", "2001:db8:1::/48", "203.0.113.0/24",
        "64:ff9b::c633:6400/120", "64:ff9b::cb00:7100/120",
    ]  # fmt: skip
    first = Key("destination", "", "198.51.100.0/24", 443, "tcp")
    assert found.items[first].address == "198.51.100.7"


def test_what_stays_here_or_is_anothers_is_left_out(tmp_path: Path) -> None:
    records = [
        *connection("local.example", verdict="local"),
        *connection("machine.example", verdict="recorded"),
        *connection("made.again", extra={"relayed": {"helper": "pasta"}}),
    ]

    assert surface(tmp_path, run_of(records)).items == {}


def test_peers_that_connect_are_told_by_the_port(tmp_path: Path) -> None:
    records = connection(None, extra={"op": "accept", "local_port": 8080})

    found = surface(tmp_path, run_of(records))

    assert found.items == {}
    assert [*found.facts["listeners"]] == ["8080/tcp"]


def test_look_ups_and_resolvers(tmp_path: Path) -> None:
    records = [
        *look_up("api.example.org", "A"),
        *look_up("api.example.org", "AAAA"),
        *look_up("7.100.51.198.in-addr.arpa", "PTR"),
        *look_up("8.100.51.198.in-addr.arpa", "PTR"),
        *look_up(None, verdict="violation"),
        *look_up("", "NS"),
        *look_up("unknown"),
    ]

    found = surface(tmp_path, run_of(records))

    assert sorted(key.name for key in found.items) == [
        ".", "api.example.org", "the name of an address in 198.51.100.0/24", "unknown",
        "unknown.",
    ]  # fmt: skip
    api = Key("lookup", "api.example.org", "", -1, "dns")
    assert values(found, api, "kinds") == ["A", "AAAA"]
    assert [*found.facts["resolvers"]] == ["192.0.2.53/udp"]


def test_escapes_and_blind_spots_are_facts(tmp_path: Path) -> None:
    escape = {"type": "escape", "what": "unix-socket", "path": "/run/docker.sock"}

    found = surface(tmp_path, run_of([escape]))

    assert [*found.facts["escapes"]] == ["unix-socket /run/docker.sock"]
    assert [*found.facts["blind_spots"]] == ["packet-sockets"]


@pytest.mark.parametrize(
    ("count", "order"), [(0, "0"), (9, "10^0"), (1000, "10^3"), (99_999, "10^4")]
)
def test_bytes_are_orders_of_magnitude(count: int, order: str) -> None:
    assert order_of(count) == order


def test_what_has_no_known_caller_is_unknown(tmp_path: Path) -> None:
    found = surface(tmp_path, run_of(connection(module=None, bypass=None)))

    for aspect in ("packages", "modules", "bypass"):
        assert values(found, API, aspect) == ["unknown"]


def test_code_of_no_package_is_told_from_what_is_unknown(tmp_path: Path) -> None:
    found = surface(tmp_path, run_of(connection()))

    assert values(found, API, "packages") == ["none"]


def test_a_reference_to_nothing_is_told(tmp_path: Path) -> None:
    *_, alone = connection()

    found = surface(tmp_path, run_of([alone]))

    assert found.problems == []
    assert "2 references to nothing" in found.notes[0]


def test_runs_are_in_the_order_in_which_they_began(tmp_path: Path) -> None:
    later = run_of(connection(), connection("b.example"), run="b", day=2)
    sooner = run_of(connection(), run="a", day=1)

    found = surface(tmp_path, later, sooner)

    assert [one.name for one in found.runs] == ["a", "b"]
    seen = found.items[API].seen
    assert (seen.first, seen.last) == (0, 1)
    other = found.items[API._replace(name="b.example")].seen
    assert (other.first, other.last) == (1, 1)


def test_a_folder_is_searched_and_other_files_are_none(tmp_path: Path) -> None:
    write(tmp_path / "run-01" / "evidence.jsonl", run_of(connection()))
    (tmp_path / "ledger.jsonl").write_text('{"kind":"call"}\n')
    (tmp_path / "again.jsonl").symlink_to(tmp_path / "run-01" / "evidence.jsonl")

    found = surface_of([str(tmp_path), str(tmp_path / "run-01")])

    assert [one.name for one in found.runs] == ["run-1"]
    assert found.problems == []


def test_a_run_of_a_folder_that_was_ended_before_it_began_is_told(
    tmp_path: Path,
) -> None:
    write(tmp_path / "a.jsonl", run_of(connection()))
    (tmp_path / "b.jsonl").touch()

    found = surface_of([str(tmp_path)])

    assert any("b.jsonl is empty" in one for one in found.problems)


def test_segments_are_one_run(tmp_path: Path) -> None:
    records = run_of(
        connection(),
        [{"type": "segment", "number": 2, "before": "r-000001.jsonl"}],
        connection("b.example"),
    )
    both = write(tmp_path / "both", records).read_bytes().splitlines(keepends=True)
    cut = next(place for place, line in enumerate(both) if b'"segment"' in line)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "r-000002.jsonl").write_bytes(b"".join(both[cut:]))
    (folder / "r-000001.jsonl").write_bytes(b"".join(both[:cut]))

    found = surface_of([str(folder)])

    assert found.problems == []
    assert len(found.items) == 2
    (folder / "r-000001.jsonl").unlink()
    problems = surface_of([str(folder)]).problems
    assert any("segment 1 of the run run-1 is missing" in one for one in problems)


def test_a_run_that_is_there_twice_is_told(tmp_path: Path) -> None:
    found = surface(tmp_path, run_of(connection()), run_of(connection()))

    assert any("is there twice" in one for one in found.problems)


def test_what_is_incomplete_says_why(tmp_path: Path) -> None:
    end = {"complete": False, "incomplete_reasons": ["events were lost"]}

    found = surface(
        tmp_path,
        run_of(connection(), run="a", end=end),
        run_of(connection(), run="b", has_end=False),
    )

    assert found.problems == [
        "run a: it is incomplete: events were lost",
        "run b: it has no end: nobody knows what is missing",
    ]


def test_what_the_run_missed_is_noted(tmp_path: Path) -> None:
    end = {"losses": {"missed_stack": 3, "names_dropped": 1}}

    found = surface(tmp_path, run_of(connection(), end=end))

    assert found.problems == []
    assert "missed_stack 3" in found.notes[0]
    assert "forgot names" in found.notes[1]


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_line_that_is_gone_is_told(tmp_path: Path, place: int) -> None:
    path = write(tmp_path / "e.jsonl", run_of(connection(), connection("b.example")))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:place] + lines[place + 1 :]))

    found = surface_of([str(path)])

    assert any("does not follow on the line before it" in x for x in found.problems)


def test_a_line_that_was_changed_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "e.jsonl", run_of(connection()))
    path.write_bytes(path.read_bytes().replace(b"api.example.org", b"api.example.net"))

    assert "does not follow" in surface_of([str(path)]).problems[0]


def test_a_line_that_is_cut_off_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "e.jsonl", run_of(connection()))
    path.write_bytes(path.read_bytes()[:-20])

    assert "is cut off" in surface_of([str(path)]).problems[0]


ODD: list[dict[str, Any]] = [
    {"dst": None},
    {"dst": {"ip": "no address", "port": 1, "names": []}},
    {"dst": {"ip": "198.51.100.1", "port": "443", "names": []}},
    {"dst": {"ip": "198.51.100.1", "port": [443], "names": []}},
    {"dst": {"ip": "198.51.100.1", "port": 443, "names": [7]}},
    {"verdict": ["allowed"]},
    {"verdict": "permitted"},
    {"bypass": {}},
    {"process": {"digest": [[]]}},
    {"code": {"package": {"name": []}}},
]


@pytest.mark.parametrize("extra", ODD)
def test_a_record_of_another_form_is_told_and_the_rest_is_read(
    tmp_path: Path, extra: dict[str, Any]
) -> None:
    records = [*connection("odd.example", extra=extra), *connection()]

    found = surface(tmp_path, run_of(records))

    assert len(found.problems) == 1
    assert re.search("line 4 (is no record|has a (port|verdict))", found.problems[0])
    assert API in found.items


def test_hostile_texts_are_one_line_and_bounded(tmp_path: Path) -> None:
    evil = "\x1b[2J\n::error::\u202e" + "x" * 5000
    records = connection(
        evil, by=package(evil, evil), process=actor(f"/bin/{evil}"), test=evil
    )

    found = surface(tmp_path, run_of(records))

    (key,) = found.items
    assert key.name.isprintable()
    assert len(key.name) < 400
    who = found.items[key].seen.who
    assert all(one.isprintable() and len(one) < 800 for one in who)


def test_a_line_that_is_too_long_is_told(tmp_path: Path) -> None:
    found = surface(tmp_path, run_of(connection("x" * 70_000), connection()))

    assert "line 4 is longer than a record may be" in found.problems[0]


def test_texts_that_are_cut_stay_others(tmp_path: Path) -> None:
    names = ["a" * 4000 + end for end in "bc"]

    found = surface(tmp_path, run_of(*map(connection, names)))

    assert len(found.items) == 2


def test_too_many_destinations_are_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("egressmon.drift.collecting.MAX_ITEMS", 3)
    names = [f"{number}.example.org" for number in range(5)]

    found = surface(tmp_path, run_of(*map(connection, names)))

    assert len(found.items) == 3
    assert "more than 3 destinations" in found.problems[0]


def test_evidence_of_another_schema_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "e.jsonl", run_of(connection()))
    path.write_bytes(path.read_bytes().replace(b"egressmon/2", b"egressmon/9"))

    assert "is of the schema egressmon/9" in surface_of([str(path)]).problems[0]


@pytest.mark.parametrize("content", [None, b"{}\n"])
def test_a_folder_without_evidence_is_refused(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "e.jsonl").write_bytes(content)

    with pytest.raises(UsageError, match="has no evidence in it"):
        surface_of([str(tmp_path)])


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        surface_of([str(tmp_path / "nothing")])


def test_a_file_of_another_kind_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello\n")

    found = surface_of([str(path)])

    assert found.runs == [Run(str(path), "")]
    assert "is no JSON" in found.problems[0]
