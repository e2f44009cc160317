"""Handshakes for a baseline, and for what is compared with one (`--tls`).

Root does not read what servers send: a child process without rights does, and hands
what it found back as JSON.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from egressmon.cli.drifting.tls import give_up_root, tell_of_proxies
from egressmon.drift.handshakes import Shaken
from egressmon.drift.model import TlsValue
from egressmon.errors import UnfinishedError, UsageError
from egressmon.privileges.confinement import end_with_parent
from egressmon.reports.writing.explaining import safe
from egressmon.tls.findings import Finding, findings
from egressmon.tls.handshake import Client
from egressmon.tls.probing import Limits, probe_all
from egressmon.tls.record import Record
from egressmon.tls.tables import table_of
from egressmon.tls.targets import Target, Unchecked, allowed_targets
from egressmon.tls.trust import trust_of

if TYPE_CHECKING:
    from egressmon.policy.language.model import AnyPolicy

_MAX_BYTES = 256 << 20
Json: TypeAlias = dict[str, Any]


class Asking(NamedTuple):
    """How hosts are asked."""

    ca_file: str | None
    expires_within: int
    """In days."""
    limits: Limits

    @classmethod
    def of(cls, parsed: argparse.Namespace) -> "Asking | None":
        """Return what the command line `parsed` asks; None: nothing."""
        if not parsed.tls:
            return None
        return cls(
            parsed.ca_file,
            parsed.expires_within,
            Limits(parsed.connect_timeout, parsed.handshake_timeout),
        )


def shake_hands(
    policy: "AnyPolicy", known: Iterable[str], asking: Asking
) -> list[Shaken]:
    """Shake hands with the hosts that `policy` allows, and return what was found.

    Wildcards stand for the `known` names. Raises UsageError if there is no such host,
    or if the library is missing.
    """
    asked = list(allowed_targets(policy.allow, policy.deny, known))
    for one in asked:
        if isinstance(one, Unchecked):
            said = f"{safe(one.entry)}: {safe(one.reason)}"
            sys.stderr.write(f"egressmon: tls: not checked: {said}\n")
    targets = [one for one in asked if isinstance(one, Target)]
    if not targets:
        raise UsageError(
            "the policy allows no host by its name, so that --tls has none to ask",
            "name the policy with --policy FILE, or leave --tls out",
        )
    client = Client(trust_of(asking.ca_file))
    tell_of_proxies()
    if os.geteuid() == 0:
        return [*_parsed(_in_child(targets, client, asking))]
    return [*_shaken(targets, client, asking)]


def _shaken(targets: list[Target], client: Client, asking: Asking) -> Iterator[Shaken]:
    now = datetime.now(UTC)
    for record in probe_all(targets, client, asking.limits):
        yield _one(record, now, asking.expires_within)


def _one(record: Record, now: datetime, within: int) -> Shaken:
    return Shaken(
        record.target.text,
        table_of(record) if record.chain else None,
        record.unknown or "",
        tuple(findings(record, now, within)),
    )


def _in_child(targets: list[Target], client: Client, asking: Asking) -> bytes:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            end_with_parent(signal.SIGKILL)
            os.close(reader)
            give_up_root()
            found = [one._asdict() for one in _shaken(targets, client, asking)]
            with open(writer, "w") as output:  # noqa: PTH123 -- a descriptor
                json.dump(found, output)  # in ASCII
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as source:  # noqa: PTH123 -- a descriptor
        data = source.read(_MAX_BYTES)
    _, status = os.waitpid(child, 0)
    if status:
        raise UnfinishedError(
            "the process that shakes hands ended early",
            "try `egressmon tls --policy FILE --allowed`, which shows more",
        )
    return data


def _parsed(data: bytes) -> Iterator[Shaken]:
    for one in cast("list[Json]", json.loads(data)):
        table: Json | None = one["table"]
        yield Shaken(
            str(one["place"]),
            None if table is None else {name: _value(table[name]) for name in table},
            str(one["unknown"]),
            tuple(Finding(str(kind), str(text)) for kind, text in one["findings"]),
        )


def _value(value: Any) -> TlsValue:
    if isinstance(value, list):
        return tuple(map(str, cast("list[object]", value)))
    return value if isinstance(value, bool | int) else str(value)
