"""Conclude a run: its verdict, the reasons why it is incomplete, its exit status."""

from egressmon.evidence.output import EvidenceState
from egressmon.evidence.records.running import (
    ChoiceCounts,
    PolicyCounts,
    RunEnd,
    RunVerdict,
)
from egressmon.evidence.segmented import LOST
from egressmon.evidence.tally import Tally
from egressmon.faults import Faults
from egressmon.pipeline import Pipeline
from egressmon.reports.runs.outcome import NOT_RUN
from egressmon.runs.plan import Ending, RunOptions
from egressmon.sanitise.counting import masked_so_far
from egressmon.sensor.sensor import Sensor
from egressmon.values import dataclass

VIOLATIONS = 120
INCOMPLETE = 121
_TAMPERED: dict[EvidenceState, str] = {
    "replaced": "another file is in its place",
    "changed": "not what was written is in it",
}
"""What to say of each state of the evidence file that only somebody else can cause."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything from which the verdict is concluded."""

    options: RunOptions
    ending: Ending
    sensor: Sensor
    pipeline: Pipeline
    tally: Tally
    faults: Faults
    evidence_failure: str | None
    evidence_state: EvidenceState
    evidence_left_out: int
    evidence_lost: int
    """How many records could not be written, though later ones were."""
    duration_ms: int
    policies: list[PolicyCounts]
    """By policy, if there was more than one."""
    choice: ChoiceCounts | None = None
    """What became of the containers, if only some were to be watched."""


def end_record(found: Findings) -> RunEnd:
    """Return the last record of the run."""
    losses = _losses(found)
    doubts = [*found.ending.doubts, *_doubts(found, losses)]
    packets, size = found.sensor.engine.sent()
    ending, connections = found.ending, found.pipeline.connections
    not_run = [NOT_RUN] if found.ending.exec_errno else []
    return RunEnd(
        verdict=_verdict(found.tally, [*doubts, *not_run]),
        complete=not doubts and not not_run,
        incomplete_reasons=[*doubts, *not_run],
        connections=dict(found.tally.connections),
        queries=dict(found.tally.queries),
        processes=found.tally.processes,
        losses=losses,
        unattributed_flows=found.tally.unattributed,
        unknown_modules=found.tally.unknown_modules,
        unknown_code=found.tally.unknown_code,
        bypasses=found.tally.bypasses,
        unnamed_addresses=len(connections.unnamed),
        canaries={
            "sent": found.sensor.canaries_sent,
            "seen": found.sensor.canaries_seen,
        },
        evidence=found.evidence_state,
        sent_packets=packets,
        sent_bytes=size,
        command_status=None if ending.exec_errno else ending.status,
        command_signal=ending.signal,
        exit_status=_exit_status(found, doubts),
        outlived=ending.outlived,
        duration_ms=found.duration_ms,
        masked=masked_so_far(),
        policies=found.policies,
        origins=dict(found.tally.origins),
        choice=found.choice,
        guard=dict(found.tally.guard),
    )


def _losses(found: Findings) -> dict[str, int]:
    lost = {LOST: found.evidence_lost} if found.evidence_lost else {}
    return {
        **found.sensor.losses(),
        **lost,
        "unreadable": found.pipeline.tracker.unreadable,
        "unread": found.pipeline.tracker.unread,
        "left_out": found.evidence_left_out,
        "dns_malformed": found.pipeline.queries.watch.malformed,
        "dns_broken": found.pipeline.queries.watch.broken,
        "dns_unread": found.pipeline.queries.watch.unread,
        "dns_left_out": found.pipeline.queries.left_out,
        "names_dropped": found.pipeline.connections.places.dropped,
    }


# The reasons why the run must not be called clean. Malformed and unread DNS answers are
# none: they are recorded, and the addresses in them merely stay without a name.
def _doubts(found: Findings, losses: dict[str, int]) -> list[str]:
    return [
        *_event_doubts(found, losses),
        *(
            f"canary {record.hook} at the {record.when}: {record.reason}"
            for record in found.sensor.failed_canaries
        ),
        *_command_doubts(found),
        *_evidence_doubts(found),
        *found.faults.doubts(),
    ]


def _event_doubts(found: Findings, losses: dict[str, int]) -> list[str]:
    doubts = [
        f"{count} events lost ({name})"
        for name, count in losses.items()
        if count and name.startswith("lost_")
    ]
    if broken := losses["dns_broken"]:
        doubts.append(
            f"{broken} times, DNS traffic that left was not followed (dns_broken)"
        )
    if left_out := losses["dns_left_out"]:
        doubts.append(
            f"{left_out} records of DNS answers, beyond the 64 of each that are "
            "believed, may name addresses (dns_left_out)"
        )
    doubts += [
        reason if count == 1 else f"{reason} ({count} times)"
        for reason, count in found.tally.escapes.items()
    ]
    if losses["unreadable"]:
        doubts.append(f"{losses['unreadable']} events could not be processed")
    if losses["unread"]:
        limit = f"{found.options.catch_up_s:g} s"
        doubts.append(
            f"{losses['unread']} events were left unread {limit} after what is watched "
            "had ended (--catch-up)"
        )
    return doubts


def _command_doubts(found: Findings) -> list[str]:
    tracker = found.pipeline.tracker
    if found.ending.exec_errno:
        return []
    if tracker.first_executed is None:
        return ["the command's exec was not seen"]
    if tracker.first_executed not in tracker.ended:
        return ["the command's exit was not seen"]
    return []


def _evidence_doubts(found: Findings) -> list[str]:
    doubts: list[str] = []
    if found.evidence_failure is not None:
        doubts.append(f"the evidence could not be written: {found.evidence_failure}")
    if found.evidence_state in _TAMPERED:
        doubts.append(
            "the evidence file was changed by somebody else "
            f"({_TAMPERED[found.evidence_state]})"
        )
    if found.evidence_lost:
        doubts.append(
            f"{found.evidence_lost} records are not in the evidence: its disk took "
            "nothing for some time"
        )
    if found.evidence_left_out:
        doubts.append(
            f"{found.evidence_left_out} records are not in the evidence: the file "
            "reached its limit (--evidence-limit)"
        )
    return doubts


def _verdict(tally: Tally, doubts: list[str]) -> RunVerdict:
    if tally.has_violations:
        return "violations"
    return "incomplete" if doubts else "clean"


def _exit_status(found: Findings, doubts: list[str]) -> int:
    if found.tally.has_violations and found.options.enforce == "fail":
        return VIOLATIONS
    if doubts and not found.options.allow_incomplete:
        return INCOMPLETE
    return found.ending.code
