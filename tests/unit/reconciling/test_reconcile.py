"""What only one of the kernel and a guard saw."""

import json
from pathlib import Path
from typing import Any, cast

import pytest

from egressmon.cli.analysing.reconcile import reconcile
from egressmon.errors import UsageError
from egressmon.reconciling.sightings import from_evidence, from_ledgers

PID = 7
END: dict[str, Any] = {"type": "run.end", "complete": True, "incomplete_reasons": []}


def moment(seconds: float) -> str:
    """Return a time of day as the files have it."""
    return f"2026-01-01T00:00:{seconds:09.6f}+00:00"


def connection(seconds: float, **others: Any) -> dict[str, Any]:
    """Return a connection of the evidence."""
    dst = {"ip": "198.51.100.7", "port": 443, "names": [{"name": "a.example"}]}
    process: dict[str, Any] = {
        "pid": PID,
        "exe": "/usr/bin/python3",
        "comm": "x",
        "pid_inside": None,
    }
    record: dict[str, Any] = {
        "type": "connection",
        "op": "connect",
        "time": moment(seconds),
    }
    record |= {"process": process, "dst": dst, "route": "python-socket"}
    return record | {"module": None, "relayed": None} | others


def decision(seconds: float, **others: Any) -> dict[str, Any]:
    """Return a decision of the ledger."""
    entry: dict[str, Any] = {
        "time": moment(seconds),
        "pid": PID,
        "tid": PID,
        "host": "a.example",
    }
    entry |= {"address": "198.51.100.7", "port": 443, "verdict": "allowed"}
    entry |= {"kind": "connect", "schema": "egressmon-guard/1"}
    return entry | {"rule": "allow[0]", "caller": "app.py:3"} | others


class Files:
    """The two files, as they were written."""

    def __init__(self, folder: Path) -> None:
        self.evidence = folder / "evidence.jsonl"
        self.ledger = folder / "ledger.jsonl"

    def compare(
        self, evidence: list[Any], ledger: list[Any], capsys: Any
    ) -> tuple[int, dict[str, Any], str]:
        """Return the status, what is printed as JSON, and what is said."""
        self.evidence.write_text("".join(json.dumps(one) + "\n" for one in evidence))
        self.ledger.write_text("".join(json.dumps(one) + "\n" for one in ledger))
        status = reconcile(str(self.evidence), [str(self.ledger)], as_json=True)
        out, err = capsys.readouterr()
        return status, json.loads(out), err


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return where the two files are."""
    return Files(tmp_path)


def kinds(found: dict[str, Any]) -> list[str]:
    """Return the kinds of what was found."""
    return [one["kind"] for one in found["findings"]]


def test_what_both_saw_is_no_finding(files: Files, capsys: Any) -> None:
    status, found, _ = files.compare(
        [connection(1), connection(3), END], [decision(0.9), decision(2.9)], capsys
    )

    assert (status, found["both"], kinds(found)) == (0, 2, [])


def test_more_connections_than_decisions(files: Files, capsys: Any) -> None:
    status, found, _ = files.compare(
        [connection(1), connection(1.5), END], [decision(0.9)], capsys
    )

    assert (status, found["both"], kinds(found)) == (1, 1, ["around"])


def test_what_went_around_uses_up_no_decision_of_the_same_peer(
    files: Files, capsys: Any
) -> None:
    status, found, _ = files.compare(
        [connection(1, guard="passed"), connection(2, guard="bypassed"), END],
        [decision(0.9), decision(1.9)],
        capsys,
    )

    assert (status, found["both"], kinds(found)) == (1, 1, ["around"])


def test_a_decision_after_the_connection_is_not_its_own(
    files: Files, capsys: Any
) -> None:
    status, found, _ = files.compare([connection(1), END], [decision(2)], capsys)

    assert (status, kinds(found)) == (1, ["around", "unseen"])


def test_what_was_refused_and_left_all_the_same(files: Files, capsys: Any) -> None:
    status, found, _ = files.compare(
        [connection(1), END], [decision(0.9, verdict="violation")], capsys
    )

    assert (status, kinds(found)) == (1, ["defied"])


def test_what_was_refused_and_did_not_leave(files: Files, capsys: Any) -> None:
    status, found, _ = files.compare([END], [decision(1, verdict="violation")], capsys)

    assert (status, found["refused"], kinds(found)) == (0, 1, [])


def test_a_process_without_a_ledger(files: Files, capsys: Any) -> None:
    other = connection(1)["process"] | {"pid": 8}

    status, found, _ = files.compare(
        [connection(1, process=other), connection(1), END], [decision(0.9)], capsys
    )

    assert (status, kinds(found), found["findings"][0]["pid"]) == (1, ["unguarded"], 8)


def test_the_pid_inside_a_container_is_what_its_ledger_has(
    files: Files, capsys: Any
) -> None:
    inside = connection(1)["process"] | {"pid": 12345, "pid_inside": PID}

    status, found, _ = files.compare(
        [connection(1, process=inside), END], [decision(0.9)], capsys
    )

    assert (status, found["both"]) == (0, 1)


def test_what_the_kernel_has_nothing_of(files: Files, capsys: Any) -> None:
    status, found, _ = files.compare([END], [decision(1)], capsys)

    assert (status, kinds(found)) == (1, ["unseen"])


def test_datagrams_after_the_first_are_asked_about_again(
    files: Files, capsys: Any
) -> None:
    status, found, _ = files.compare(
        [connection(1, op="send"), END], [decision(0.9), decision(2)], capsys
    )

    assert (status, found["both"], found["repeated"]) == (0, 1, 1)


@pytest.mark.parametrize(
    ("seen", "asked"),
    [
        ("198.51.100.7", "::ffff:198.51.100.7"),
        ("fe80::1", "fe80::1%eth0"),
        ("127.0.0.1", "0.0.0.0"),  # noqa: S104 -- what a program asked for
        ("::1", "::"),
    ],
)
def test_an_address_in_two_forms(
    files: Files, capsys: Any, seen: str, asked: str
) -> None:
    dst = connection(1)["dst"] | {"ip": seen}

    status, found, _ = files.compare(
        [connection(1, dst=dst), END], [decision(0.9, address=asked)], capsys
    )

    assert (status, found["both"]) == (0, 1)


def test_look_ups_and_what_a_peer_began_are_left_out(files: Files, capsys: Any) -> None:
    status, found, _ = files.compare(
        [connection(1, op="accept"), connection(1, relayed={"helper": "pasta"}), END],
        [decision(0.9, address=None, kind="lookup")],
        capsys,
    )

    assert (status, found["both"], kinds(found)) == (0, 0, [])


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ({}, "the run has no end"),
        (END | {"complete": False, "incomplete_reasons": ["a"]}, "is incomplete: a"),
        (END | {"complete": "yes", "incomplete_reasons": 7}, "it does not say why"),
    ],
)
def test_evidence_that_does_not_have_all(
    files: Files, capsys: Any, end: dict[str, Any], why: str
) -> None:
    status, found, said = files.compare(
        [connection(1), end | {"type": end.get("type", "x")}], [decision(0.9)], capsys
    )

    assert (status, found["comparable"]) == (2, False)
    assert why in said


ODD: list[Any] = [
    None, 1, [], "x", {}, {"pid": True}, {"pid": 0}, {"pid": "7"}, {"port": "443"},
    {"address": "x"}, {"address": 1}, {"address": []}, {"verdict": "maybe"},
    {"verdict": []}, {"time": "now"}, {"time": None}, {"time": "2026-01-01T00:00:00"},
    {"pid": 1 << 40}, {"port": {}},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_a_decision_of_another_form_is_told_of(
    files: Files, capsys: Any, odd: Any
) -> None:
    entry: Any = odd
    if isinstance(odd, dict) and odd:
        entry = decision(1) | cast("dict[str, Any]", odd)

    status, found, said = files.compare(
        [connection(3), END], [entry, decision(2.9)], capsys
    )

    assert (status, found["both"]) == (2, 1)
    assert "line 1" in said


@pytest.mark.parametrize(
    "odd",
    [
        {"process": 1}, {"process": {}}, {"dst": None}, {"dst": {}}, {"time": 1},
        {"dst": {"ip": "x", "port": 1, "names": []}}, {"op": []}, {"route": []},
        {"dst": {"ip": "::1", "port": 1, "names": [1]}}, {"dst": []},
        {"dst": {"ip": "::1", "port": 1, "names": {"a": 1}}}, {"module": 7},
    ],
    ids=repr,
)  # fmt: skip
def test_a_connection_of_another_form_ends_nothing(
    files: Files, capsys: Any, odd: Any
) -> None:
    status, found, _ = files.compare(
        [connection(1) | odd, connection(3), END], [decision(2.9)], capsys
    )

    assert status in {1, 2}
    assert found["both"] == 1 or odd == {"module": 7}


def test_nothing_in_a_name_reaches_the_terminal(files: Files, capsys: Any) -> None:
    dst = connection(1)["dst"] | {"names": [{"name": "\x1b[31m\n::error::x"}]}
    files.compare([connection(1, dst=dst), END], [], capsys)

    reconcile(str(files.evidence), [str(files.ledger)], as_json=False)

    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert not any(line.startswith("::") for line in out.splitlines())


def test_a_decision_by_name_is_about_the_addresses_of_the_name(
    files: Files, capsys: Any
) -> None:
    status, found, _ = files.compare(
        [connection(1), END], [decision(0.9, address=None)], capsys
    )

    assert (status, found["both"], kinds(found)) == (0, 1, [])


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("lookup", "allowed"), ("lookup", "violation"), ("pointer", "allowed"),
        ("child", "unguarded child"), ("child", "guarded child"),
        ("call", "unguarded call"),
    ],
)  # fmt: skip
def test_what_the_guard_only_tells_of_is_no_decision_on_a_connection(
    files: Files, capsys: Any, kind: str, verdict: str
) -> None:
    told = decision(0.5, kind=kind, verdict=verdict, address=None, port=None)

    status, found, _ = files.compare(
        [connection(1), END], [told, decision(0.9)], capsys
    )

    assert (status, found["both"], kinds(found)) == (0, 1, [])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError):
            from_evidence(str(path))
        with pytest.raises(UsageError):
            from_ledgers([str(path)])


def test_what_is_said_again_is_kept_once(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    lines = [json.dumps(decision(at)) for at in (1, 2)]
    ledger.write_text("\n".join(lines) + "\n")

    first, second = from_ledgers([str(ledger)]).seen

    assert first.key is second.key
    assert first.by is second.by
