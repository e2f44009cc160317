"""The inventory for a review: by phase, by whom, what it probably is, what to ask."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.auditing.gathering import inventory_of
from egressmon.auditing.inventory import MAX_ROWS, Inventory
from egressmon.auditing.known import known, of_port
from egressmon.auditing.surfaces import surfaces
from egressmon.cli.analysing.report import report
from egressmon.evidence.records import Record
from egressmon.evidence.records.actors import ProcessRecord
from egressmon.evidence.records.code import StackRecord, StackReference
from egressmon.evidence.records.traffic import (
    ConnectionRecord,
    EscapeRecord,
    ExistingRecord,
)
from egressmon.values import replace
from support.recorded import proof, record, run_start
from support.reported import code, connection, look_up

COLUMNS = 7


def page(*records: Record, doubts: tuple[str, ...] = ()) -> str:
    """Return the inventory of a run that made `records`."""
    inventory = Inventory()
    for one in records:
        inventory.add(one)
    return "\n".join(surfaces(inventory, doubts))


def rows(text: str) -> list[list[str]]:
    """Return the cells of the rows of all tables in `text`."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[one.strip() for one in line.split("|")[1:-1]] for line in lines]


def importing(one: ConnectionRecord) -> ConnectionRecord:
    """Return the same, made while a module was imported."""
    names = ["<module>", "/src/m.py", "_find_and_load", "<frozen importlib._bootstrap>"]
    stack = StackRecord("0" * 32, names, [(0, 1, 3), (2, 3, 9)], 0)
    made = replace(code(test=None, package="sdk"), stack=StackReference("", stack))
    return replace(one, code=made)


def process(event: str, pid: int) -> ProcessRecord:
    return ProcessRecord(event, pid, 1, 0, "sh", "/bin/sh", [], False, "")  # type: ignore[arg-type]


def test_what_the_command_itself_names_is_said() -> None:
    start = replace(run_start(), command=["curl", "http://Api.example.org/"])
    text = page(
        start,
        connection("198.51.100.1", "api.example.org"),
        connection("198.51.100.2", "other.example.org"),
    )

    given, other = rows(text)
    assert given[4].startswith("the command names it; ")
    assert "names it" not in other[4]


def test_who_connected_from_this_machine_is_told_too() -> None:
    text = page(connection("127.0.0.1", verdict="local", op="accept"))

    _, _, told = text.partition("## Who connected to the command")
    assert told.strip().startswith("- `127.0.0.1`: `client at port ")


def headings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("## Phase")]


def test_each_destination_has_a_row_with_who_reached_it() -> None:
    text = page(
        connection("198.51.100.1", "api.example.org", made_by=code(package="sdk")),
        connection("198.51.100.1", "api.example.org", made_by=code(package="sdk")),
        connection("198.51.100.2", port=80),
        connection("127.0.0.1", verdict="local"),
    )

    named, address = rows(text)
    assert named[:4] == [
        "`api.example.org:443/tcp`", "2 (1 again)",
        "`client (sdk 1.0) in tests/test_net.py::test_fetch (call)` (2x)",
        "`198.51.100.1`",
    ]  # fmt: skip
    assert address[0] == "`198.51.100.2:80/tcp`"
    assert address[4] == "by its port: plain HTTP"
    assert "where does the address come from?" in address[5]
    assert "why is it not encrypted?" in address[5]
    assert {len(row) for row in (address, named)} == {COLUMNS}
    assert "- 2 destinations, 3 connections" in text


def test_the_packages_on_the_stack_are_told_from_the_outermost_on() -> None:
    names = ["connect", "/v/site-packages/httpcore/tcp.py", "send", "post", "f"]
    names += ["/v/site-packages/httpx/a.py", "/v/site-packages/sdk/a.py", "/src/a.py"]
    frames: list[tuple[int | None, int | None, int | None]]
    frames = [(0, 1, 1), (2, 5, 2), (3, 6, 3), (None, None, None), (4, 7, 9)]
    stack = StackReference("1" * 32, StackRecord("1" * 32, names, frames, 0))
    made = replace(code(test=None, package="httpcore"), stack=stack)

    (row,) = rows(page(connection("198.51.100.1", "api.sdk.example", made_by=made)))

    assert row[2].startswith("`client (httpcore 1.0), for sdk > httpx > httpcore in ")
    assert row[4] == "the service of the package `sdk`, by its name"


def test_phases_are_told_by_what_the_records_show() -> None:
    far = connection("198.51.100.1", "api.example.org")

    text = page(
        process("exec", 5),
        importing(far),
        replace(far, code=code()),
        far,
        connection("127.0.0.1", verdict="local", op="accept"),
        far,
        process("exit", 6),
        far,
        process("exit", 5),
        far,
    )

    assert headings(text) == [
        "## Phase `import`",
        "## Phase `tests`",
        "## Phase `run`",
        "## Phase `after it was connected to`",
        "## Phase `after the command`",
    ]
    imported, *_, left = rows(text)
    assert "why does an import connect?" in imported[5]
    assert "why does it outlive the command?" in left[5]


def test_marks_are_the_phases_where_there_are_any() -> None:
    inventory = Inventory()
    far = connection("198.51.100.1", "api.example.org")
    inventory.add(far, "second")
    inventory.add(importing(far), "second")
    inventory.add(far, "first")
    inventory.add(far, None)

    text = "\n".join(surfaces(inventory, ()))

    assert headings(text) == [
        "## Phase `second`",
        "## Phase `second: import`",
        "## Phase `first`",
        "## Phase `outside of the phases`",
    ]


def test_what_was_only_looked_up_is_listed_apart() -> None:
    text = page(
        look_up("api.example.org"),
        connection("198.51.100.1", "api.example.org"),
        look_up("telemetry.nextjs.org", program="node"),
        look_up("1.100.51.198.in-addr.arpa"),
    )

    _, asked = rows(text)
    assert asked[0] == "`telemetry.nextjs.org`"
    assert asked[4:6] == [
        "Next.js's telemetry",
        "set NEXT_TELEMETRY_DISABLED=1, or allow it on purpose",
    ]
    assert "- `127.0.0.1`: 2" in text or "- `127.0.0.1`: 3" in text


def test_peers_escapes_and_doubts_are_told() -> None:
    escape = EscapeRecord(
        "packet-socket", None, None, None, None, "x", doubt=True, reason="opened"
    )
    text = page(
        connection("198.51.100.9", op="accept"), escape, doubts=("lost 3 events",)
    )

    assert "- `198.51.100.9`: `client at port 80` (1x)" in text
    assert "- `packet-socket by unknown process: opened`: 1" in text
    assert "- **not whole**: `lost 3 events`" in text
    assert "is complete" not in text


def test_connections_from_before_a_run_are_told() -> None:
    one = ExistingRecord("tcp", "2001:db8::1", 443, "::1", 9, None, "gone")

    assert "- `[2001:db8::1]:443/tcp by unknown process`: 2" in page(one, one)


def test_a_service_with_the_name_of_the_package_is_guessed() -> None:
    made = code(test=None, package="some-sdk")

    (row,) = rows(
        page(connection("198.51.100.1", "api.some-sdk.example", made_by=made))
    )
    (other,) = rows(page(connection("198.51.100.1", "some.example", made_by=made)))

    assert row[4] == "the service of the package `some-sdk`, by its name"
    assert other[4] == "not known"


@pytest.mark.parametrize(
    ("host", "word"),
    [
        ("PyPI.org.", "index of Python packages"),
        ("o1.ingest.sentry.io", "errors"),
        ("169.254.169.254", "credentials"),
        ("10.1.2.3", "private network"),
        ("fe80::1", "link"),
        ("ff02::fb", "group of machines"),
        ("8.8.8.8", "public resolver"),
    ],
)
def test_known_destinations_are_told(host: str, word: str) -> None:
    found = known(host)

    assert found is not None
    assert word in found.what


def test_what_is_not_known_is_nothing() -> None:
    assert known("api.example.org") is None
    assert known("198.51.100.1") is None
    assert (of_port(443), of_port(None)) == (None, None)


def test_ten_thousand_destinations_are_listed_and_the_rest_is_counted() -> None:
    inventory = Inventory()
    for number in range(MAX_ROWS + 5):
        ip = f"198.51.{number >> 8}.{number & 255}"
        inventory.add(connection(ip))
        inventory.add(look_up(f"n{number}.example"))

    text = "\n".join(surfaces(inventory, ()))

    assert len(rows(text)) == 2 * MAX_ROWS
    assert "`5 times there was no room for more destinations`" in text
    assert "`5 times there was no room for more look-ups`" in text


def test_many_makers_of_a_row_are_bounded() -> None:
    found = [
        connection(f"198.51.100.{n % 250}", "a.example", port=n + 1, program=f"p{n}")
        for n in range(300)
    ]

    (row,) = rows(page(*found))

    assert row[0] == "`a.example:1,2,3,4,…/tcp`"
    assert row[2].count("<br>") == 4
    assert "and 61 more" in row[2]


def test_the_order_is_that_of_names_whatever_came_first() -> None:
    made = [connection("198.51.100.1", name) for name in ("b.example", "a.example")]

    assert page(*made) == page(*reversed(made))


@given(
    text=st.text(min_size=1, max_size=40)
    | st.sampled_from(["`|`", "\n## x", "<b>", "](x)", "\x1b[2J", "::error::", "\\|"])
)
def test_whatever_others_wrote_stays_in_its_cell(text: str) -> None:
    made = replace(code(test=text, package=text), function=text, file=text)
    one = connection("198.51.100.1", text, made_by=made, program=text, protocol=text)
    inventory = Inventory()
    inventory.add(one, text)
    inventory.add(look_up(text, program=text), text)

    lines = list(surfaces(inventory, (text,)))

    assert all(line.isprintable() for line in lines)
    tables = [line for line in lines if line.startswith("| `")]
    assert {line.count("|") for line in tables} <= {COLUMNS + 1}
    for line in lines:
        assert line.count("`") % 2 == 0


def test_a_report_has_the_inventory_of_all_runs(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    folder = proof(tmp_path / "proof")

    assert report([str(folder)], "surfaces") == 0

    text = capfdbinary.readouterr().out.decode()
    assert "`api.example.org:443/tcp` | 4 (2 again) |" in text


def test_a_report_of_evidence_that_is_not_whole_says_so(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    evidence = tmp_path / "evidence.jsonl"
    record(evidence)
    lines = evidence.read_bytes().splitlines(keepends=True)
    evidence.write_bytes(b"".join(lines[:-1]))

    assert report([str(evidence)], "surfaces") == 1

    said = capfdbinary.readouterr()
    assert b"- **not whole**: " in said.out
    assert b"egressmon: not whole: " in said.err


def test_the_probes_of_a_proof_are_in_no_inventory() -> None:
    example = Path(__file__).parents[3] / "docs/examples/proof"

    inventory, doubts = inventory_of([str(example)])

    assert (inventory.reached, doubts) == ({}, [])
    assert list(inventory.phases.marked)[:3] == ["start", "probe", "create"]
