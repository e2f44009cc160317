"""What is counted, and how it is worded for people."""

from dataclasses import replace

import pytest

from egressmon.evidence.records.actors import ProcessRecord
from egressmon.evidence.records.code import (
    ClaimRecord,
    ModuleFile,
    ModuleRecord,
    PackageRecord,
)
from egressmon.evidence.records.traffic import ConnectionRecord, Peer
from egressmon.evidence.tally import Tally, module_label
from egressmon.reports.runs.summary import losses_line

PYTHON = PackageRecord("deb", "libpython3.11-stdlib", "3.11.2")
EXTENSION = ModuleFile("/app/x.so", None, None)
CONNECTION = ConnectionRecord(
    op="connect",
    protocol="tcp",
    family="inet",
    socket="scope",
    dst=Peer("192.0.2.1", 443, []),
    process=None,
    process_reason=None,
    verdict="violation",
    action="observed",
    rule=None,
    reason="no allow entry covers 192.0.2.1:443/tcp",
    module=None,
    module_reason=None,
    route="native",
    route_reason=None,
    bypass=None,
    code=None,
    code_status="none",
    code_reason=None,
)
BINDING = ModuleFile("/usr/lib/python3.11/lib-dynload/_ctypes.so", None, PYTHON)


def made_by(
    caller: ModuleFile, binding: ModuleFile | None, *claimed: str
) -> ConnectionRecord:
    return replace(
        CONNECTION,
        module=ModuleRecord(caller, binding, [], None),
        claimed=[ClaimRecord(one, "changed in this run") for one in claimed],
    )


@pytest.mark.parametrize(
    ("record", "label"),
    [
        (made_by(EXTENSION, None), "x.so"),
        (
            made_by(EXTENSION, BINDING),
            "x.so by way of _ctypes.so (libpython3.11-stdlib 3.11.2)",
        ),
        (
            made_by(EXTENSION, BINDING, "module.caller"),
            "x.so (claimed) by way of _ctypes.so (libpython3.11-stdlib 3.11.2)",
        ),
        (made_by(BINDING, BINDING), "_ctypes.so (libpython3.11-stdlib 3.11.2)"),
        (
            made_by(BINDING, EXTENSION, "module.caller.package"),
            "_ctypes.so (libpython3.11-stdlib 3.11.2) (claimed)",
        ),
    ],
)
def test_a_file_is_labelled_with_its_own_package_alone(
    record: ConnectionRecord, label: str
) -> None:
    assert module_label(record) == label


def process(event: str, pid: int) -> ProcessRecord:
    assert event in {"fork", "exec", "exit"}
    return ProcessRecord(
        event=event,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        pid=pid,
        ppid=1,
        uid=0,
        comm="x",
        exe="/bin/x",
        argv=[],
        argv_cut=False,
        started="",
    )


def test_what_is_not_in_the_file_was_seen_all_the_same() -> None:
    tally = Tally()
    tally.add(CONNECTION)
    tally.add(CONNECTION, written=False)
    tally.add(process("fork", 1))
    tally.add(process("fork", 2), written=False)
    tally.add(process("exec", 2), written=False)

    verdict = CONNECTION.verdict
    assert (tally.connections[verdict], tally.seen_connections[verdict]) == (1, 2)
    assert (tally.processes, tally.seen_processes) == (1, 2)


def test_losses_without_doubt_are_no_lost_events() -> None:
    line = losses_line(
        {"lost_flow": 1, "left_out": 2, "dns_malformed": 3, "missed_stack": 2}
    )

    assert line == (
        "3 events lost or unreadable; 3 unreadable DNS messages; 2 modules unknown"
    )
    assert losses_line({"names_dropped": 0}) == "0 events lost or unreadable"
