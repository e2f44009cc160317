"""What came out of a run, for the tests of reports."""

from dataclasses import replace

from egressmon.evidence.records.running import RunEnd
from egressmon.evidence.tally import Tally
from egressmon.reports.runs.outcome import Outcome

_CLEAN_END = RunEnd(
    verdict="clean",
    complete=True,
    incomplete_reasons=[],
    connections={},
    queries={},
    processes=0,
    losses={},
    unattributed_flows=0,
    unknown_modules=0,
    unknown_code=0,
    bypasses=0,
    unnamed_addresses=0,
    canaries={"seen": 16, "sent": 16},
    evidence="whole",
    sent_packets=0,
    sent_bytes=0,
    command_status=0,
    command_signal=None,
    exit_status=0,
    outlived=[],
    duration_ms=1,
    masked={},
)
_CLEAN = Outcome(
    end=_CLEAN_END,
    tally=Tally(),
    blind_spots=["packet-sockets"],
    evidence_path="evidence.jsonl",
    evidence_failure=None,
    evidence_records=2,
    evidence_head="blake3:00",
    policy=None,
    enforce="report",
    exec_errno=0,
    command="true",
)


def outcome(tally: Tally | None = None, /, **end: object) -> Outcome:
    """Return a clean run's outcome with `tally`, and the fields given in its end."""
    changed = replace(_CLEAN_END, **end)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return replace(_CLEAN, tally=tally or Tally(), end=changed)
