"""Egressmon's own probes: what the launcher of `prove` reaches, to be seen."""

from egressmon.auditing.evidence import Told
from egressmon.evidence.records.actors import ProcessRecord
from egressmon.evidence.records.running import RunStart
from egressmon.evidence.records.traffic import ConnectionRecord, DnsRecord

_LAUNCHER = "egressmon.proofs.launcher"
_PHASE = "probe"


class Probes:
    """Tells which records of a run are about such probes.

    Nothing else in the scope of such a run can act as its first process, which reaches
    nothing else in that phase (proofs/judging/facts.py).
    """

    def __init__(self) -> None:
        self._is_proof = False
        self._launcher: int | None = None

    def has(self, told: Told) -> bool:
        """Take in the record `told`, and tell whether it is about a probe."""
        match record := told.record:
            case RunStart():
                self._is_proof = _LAUNCHER in record.command
            case ProcessRecord(event="exec") if self._launcher is None:
                self._launcher = record.pid
            case ConnectionRecord() | DnsRecord() if self._is_proof:
                process = record.process
                is_own = process is not None and process.pid == self._launcher
                return is_own and told.phase == _PHASE
            case _:
                pass
        return False
