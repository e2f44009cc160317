"""`egressmon tls`: what servers have, by handshakes of its own."""

import argparse
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from egressmon.errors import PrivilegeError, UsageError
from egressmon.policy.reading.file import load_policy
from egressmon.privileges.confinement import become_nobody, unused_uid
from egressmon.reports.findings.handshakes import Handshakes, Judged, write
from egressmon.startup.environment import original, variables
from egressmon.text import printable, unguarded
from egressmon.tls.findings import findings
from egressmon.tls.handshake import Client
from egressmon.tls.probing import Limits, probe_all
from egressmon.tls.targets import Target, Unchecked, allowed_targets, parse_target
from egressmon.tls.trust import trust_of

_PROXIES = (b"https_proxy", b"HTTPS_PROXY", b"all_proxy", b"ALL_PROXY")


class TlsRequest(NamedTuple):
    """What `egressmon tls` is asked."""

    hosts: list[str]
    policy: str | None
    allowed: bool
    form: str
    ca_file: str | None
    expires_within: int
    """In days."""
    limits: Limits

    @classmethod
    def of(cls, parsed: argparse.Namespace) -> "TlsRequest":
        """Return what the command line `parsed` asks."""
        return cls(
            hosts=parsed.hosts,
            policy=parsed.policy,
            allowed=parsed.allowed,
            form=parsed.form,
            ca_file=parsed.ca_file,
            expires_within=parsed.expires_within,
            limits=Limits(parsed.connect_timeout, parsed.handshake_timeout),
        )


def tls(request: TlsRequest) -> int:
    """Shake hands with what `request` names, print what is found, return the status."""
    asked = list(_asked(request))
    targets = [one for one in asked if isinstance(one, Target)]
    trust = trust_of(request.ca_file)
    client = Client(trust)
    tell_of_proxies()
    give_up_root()
    now = datetime.now(UTC)
    judged = [
        Judged(record, tuple(findings(record, now, request.expires_within)))
        for record in probe_all(targets, client, request.limits)
    ]
    unchecked = tuple(one for one in asked if isinstance(one, Unchecked))
    found = Handshakes(tuple(judged), unchecked, trust.text, now)
    write(request.form, found, sys.stdout, unguarded(sys.stdout))
    return found.status


# Nothing is connected to that was not asked for: no policy is searched for.
def _asked(request: TlsRequest) -> Iterator[Target | Unchecked]:
    if request.allowed != (request.policy is not None):
        raise UsageError(
            "a policy alone connects to nothing",
            "give --policy FILE and --allowed together",
        )
    if not request.hosts and request.policy is None:
        raise UsageError(
            "no host is named", "write HOST:PORT, or --policy FILE --allowed"
        )
    yield from dict.fromkeys(map(parse_target, request.hosts))
    if request.policy is not None:
        loaded = load_policy(Path(request.policy))
        for remark in loaded.remarks:
            sys.stderr.write(f"egressmon: policy: {printable(remark)}\n")
        policy = loaded.policy
        allowed = list(allowed_targets(policy.allow, policy.deny))
        if not allowed and not request.hosts:
            raise UsageError(f"{request.policy} allows no host", "write HOST:PORT, too")
        yield from allowed


def give_up_root() -> None:
    """Become nobody, if this is root: what servers send is not for root to read.

    Whatever is needed must be open, or imported. In a container that may not change
    its user this goes on, and says so.
    """
    if os.geteuid() != 0:
        return
    try:
        become_nobody(unused_uid())
    except PrivilegeError as error:
        sys.stderr.write(f"egressmon: tls: still root: {printable(error)}\n")


def tell_of_proxies() -> None:
    """Say that a proxy that the environment names is not used."""
    given = variables(original())
    for name in _PROXIES:
        if given.get(name):
            sys.stderr.write(
                f"egressmon: tls: {name.decode()} is not used: this connects directly\n"
            )
