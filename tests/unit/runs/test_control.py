"""The marks of phases: a record has the name that the records of the phase have."""

import json
import socket

from egressmon.evidence.masking import sanitise_record
from egressmon.evidence.phases import Phases
from egressmon.evidence.records import Record
from egressmon.evidence.records.running import PhaseRecord
from egressmon.evidence.tally import Tally
from egressmon.faults import Faults
from egressmon.runs.control import Control


def test_a_phase_has_one_name_in_all_records() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    phases, found = Phases(), list[Record]()
    control = Control(
        ours, phases, lambda record, _: found.append(record), Tally(), Faults(), 1
    )
    key = "akia" + "2" * 16
    mark = {"name": f"a-{key}", "event": "begin", "ktime_ns": 5}

    with ours, theirs:
        theirs.send(json.dumps({"id": 1, "mark": mark}).encode())
        control.listen()

    (record,) = map(sanitise_record, found)
    assert isinstance(record, PhaseRecord)
    assert record.name == phases.at(5)
    assert key not in record.name
