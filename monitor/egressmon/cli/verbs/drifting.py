"""The verbs that compare a night with the last: cassettes, tls, baseline, drift.

Each imports the rest only when it is called.
"""

import argparse

from egressmon.cli.options.parsing import Add
from egressmon.cli.requests import Call, RefreshRequest


def add_cassettes_options(add: Add, name: str) -> None:
    """Add the verb `cassettes`."""
    from egressmon.cli.options.cassettes import add_cassettes  # noqa: PLC0415

    add_cassettes(add, name)


def run_cassettes(parsed: argparse.Namespace, _: Call) -> int:
    """Lock, verify, compare or refresh cassettes. Returns the exit status."""
    if parsed.cassettes_verb == "refresh":
        from egressmon.cli.drifting.refresh import refresh  # noqa: PLC0415

        return refresh(
            RefreshRequest(parsed.spend, parsed.directories or [], parsed.command)
        )
    from egressmon.cli.drifting import cassettes  # noqa: PLC0415

    if parsed.cassettes_verb == "lock":
        return cassettes.lock(parsed.directories)
    if parsed.cassettes_verb == "verify":
        return cassettes.verify(parsed.directories)
    return cassettes.compare(parsed.old, parsed.new, parsed.form)


def add_tls_options(add: Add, name: str) -> None:
    """Add the verb `tls`."""
    from egressmon.cli.options.tls import add_tls  # noqa: PLC0415

    add_tls(add, name)


def run_tls(parsed: argparse.Namespace, _: Call) -> int:
    """Shake hands with hosts. Returns the exit status."""
    from egressmon.cli.drifting import tls  # noqa: PLC0415

    return tls.tls(tls.TlsRequest.of(parsed))


def add_baseline_options(add: Add, name: str) -> None:
    """Add the verb `baseline`."""
    from egressmon.cli.options.drift import add_baseline  # noqa: PLC0415

    add_baseline(add, name)


def run_baseline(parsed: argparse.Namespace, _: Call) -> int:
    """Write or update a baseline. Returns the exit status."""
    from egressmon.cli.drifting import baseline, handshaking  # noqa: PLC0415

    asking = handshaking.Asking.of(parsed)
    if parsed.baseline_verb == "write":
        return baseline.write(
            baseline.WriteRequest(
                evidence=parsed.evidence,
                output=parsed.output,
                force=parsed.force,
                empty=parsed.empty,
                policy=parsed.policy,
                asking=asking,
            )
        )
    return baseline.update(
        baseline.UpdateRequest(
            baseline=parsed.baseline,
            evidence=parsed.evidence,
            reviewed_by=parsed.reviewed_by,
            reason=parsed.reason,
            keep_gone=parsed.keep_gone,
            empty=parsed.empty,
            policy=parsed.policy,
            asking=asking,
        )
    )


def add_drift_options(add: Add, name: str) -> None:
    """Add the verb `drift`."""
    from egressmon.cli.options.drift import add_drift  # noqa: PLC0415

    add_drift(add, name)


def run_drift(parsed: argparse.Namespace, _: Call) -> int:
    """Compare evidence with a baseline. Returns the exit status."""
    from egressmon.cli.drifting import drift, handshaking  # noqa: PLC0415

    return drift.drift(
        drift.DriftRequest(
            baseline=parsed.baseline,
            evidence=parsed.evidence,
            policy=parsed.policy,
            form=parsed.form,
            asking=handshaking.Asking.of(parsed),
        )
    )
