"""Records of connections and look-ups, for the tests of reports."""

from egressmon.evidence.records.actors import Actor
from egressmon.evidence.records.code import CodeRecord, PackageRecord
from egressmon.evidence.records.traffic import (
    ConnectionRecord,
    DnsRecord,
    NameRecord,
    Peer,
)

PYTEST = "tests/test_net.py::test_fetch (call)"


def actor(program: str = "client") -> Actor:
    """Return a process that runs `program`."""
    return Actor(1, 1, 0, 0, "thread", f"/bin/{program}", [], [])


def code(test: str | None = PYTEST, package: str | None = None) -> CodeRecord:
    """Return Python code that runs in `test`, of `package`."""
    return CodeRecord(
        language="python",
        function="fetch",
        file="/src/tests/test_net.py",
        line=12,
        package=PackageRecord("python", package, "1.0") if package else None,
        test=test,
        test_confirmed=True,
        test_at_call=None,
        stack=None,
        stack_end=None,
        created_by=None,
        created_by_end=None,
        started_by=None,
    )


def connection(  # noqa: PLR0913 -- each one optional
    ip: str,
    *names: str,
    port: int | None = 443,
    protocol: str = "tcp",
    verdict: str = "violation",
    reason: str = "no allow entry covers it",
    program: str = "client",
    made_by: CodeRecord | None = None,
    op: str = "connect",
) -> ConnectionRecord:
    """Return the record of a connection to `ip`, which has these names."""
    return ConnectionRecord(
        op=op,
        protocol=protocol,
        family="inet",
        socket="scope",
        dst=Peer(ip, port, [NameRecord(name, "dns") for name in names]),
        process=actor(program),
        process_reason=None,
        verdict=verdict,
        action="observed",
        rule=None,
        reason=reason,
        module=None,
        module_reason=None,
        route="unknown",
        route_reason=None,
        bypass=None,
        code=made_by,
        code_status="none" if made_by is None else "known",
        code_reason=None,
        local_port=80 if op == "accept" else None,
    )


def look_up(  # noqa: PLR0913 -- each one optional
    name: str | None,
    *,
    resolver: str = "127.0.0.1",
    verdict: str = "violation",
    rule: str | None = None,
    reason: str | None = None,
    program: str = "client",
    made_by: CodeRecord | None = None,
) -> DnsRecord:
    """Return the record of a look-up of `name`."""
    return DnsRecord(
        protocol="udp",
        resolver=resolver,
        name=name,
        asked=None,
        kind="A",
        status="NXDOMAIN",
        answers=[],
        answer_count=0,
        unread_bytes=0,
        trusted=True,
        process=actor(program),
        process_reason=None,
        verdict=verdict,
        rule=rule,
        reason=reason or f"no allow entry covers {name}",
        module=None,
        module_reason=None,
        route="unknown",
        route_reason=None,
        bypass=None,
        code=made_by,
        code_reason=None,
    )
