"""The verbs that watch nothing: they read policies, and what runs have left.

Each imports the rest only when it is called.
"""

import argparse

from egressmon.cli.options.parsing import Add
from egressmon.cli.requests import (
    Call,
    CheckRequest,
    ExplainRequest,
    ScanRequest,
    VerifyRequest,
)


def add_policy_options(add: Add, name: str) -> None:
    """Add the verb `policy`."""
    from egressmon.cli.options.policy import add_policy  # noqa: PLC0415

    add_policy(add, name)


def run_policy(parsed: argparse.Namespace, _: Call) -> int:
    """Check, explain or render a policy file. Returns the exit status."""
    if parsed.policy_verb in {"nftables", "pf"}:
        from egressmon.cli.policy import filters  # noqa: PLC0415

        render = filters.pf if parsed.policy_verb == "pf" else filters.nftables
        return render(filters.FilterRequest.of(parsed))
    if parsed.policy_verb == "check":
        from egressmon.cli.policy.check import check  # noqa: PLC0415

        return check(
            CheckRequest(
                parsed.file,
                strict=parsed.strict,
                digest=parsed.policy_digest,
                against=parsed.against,
                form=parsed.format,
            )
        )
    from egressmon.cli.policy.explain import explain  # noqa: PLC0415

    return explain(
        ExplainRequest(
            file=parsed.file,
            destination=parsed.destination,
            package=parsed.package,
            exe=parsed.exe,
            module=parsed.module,
            route=parsed.route,
            bypass=parsed.bypass,
            claimed=parsed.claimed,
        )
    )


def add_report_options(add: Add, name: str) -> None:
    """Add the verb `report`."""
    from egressmon.cli.options.analysing import add_report  # noqa: PLC0415

    add_report(add, name)


def run_report(parsed: argparse.Namespace, _: Call) -> int:
    """Show evidence in another form. Returns the exit status."""
    from egressmon.cli.analysing.report import report  # noqa: PLC0415

    return report(parsed.evidence, parsed.format)


def add_verify_options(add: Add, name: str) -> None:
    """Add the verb `verify`."""
    from egressmon.cli.options.verify import add_verify  # noqa: PLC0415

    add_verify(add, name)


def run_verify(parsed: argparse.Namespace, _: Call) -> int:
    """Check evidence. Returns the exit status."""
    from egressmon.cli.analysing import verify  # noqa: PLC0415

    return verify.command(
        VerifyRequest(
            paths=parsed.path,
            policies=parsed.policy,
            anchor=parsed.anchor,
            allowed_signers=parsed.allowed_signers,
            subject=parsed.sigstore_identity,
            issuer=parsed.sigstore_issuer,
            format=parsed.format,
        )
    )


def add_scan_options(add: Add, name: str) -> None:
    """Add the verb `scan`."""
    from egressmon.cli.options.analysing import add_scan  # noqa: PLC0415

    add_scan(add, name)


def run_scan(parsed: argparse.Namespace, _: Call) -> int:
    """Find secrets. Returns the exit status."""
    from egressmon.cli.analysing.scan import scan  # noqa: PLC0415

    return scan(ScanRequest(parsed.paths, parsed.form, parsed.allow))


def add_reconcile_options(add: Add, name: str) -> None:
    """Add the verb `reconcile`."""
    from egressmon.cli.options.analysing import add_reconcile  # noqa: PLC0415

    add_reconcile(add, name)


def run_reconcile(parsed: argparse.Namespace, _: Call) -> int:
    """Compare evidence with ledgers. Returns the exit status."""
    from egressmon.cli.analysing.reconcile import reconcile  # noqa: PLC0415

    return reconcile(parsed.evidence, parsed.ledger, as_json=parsed.format == "json")


def run_inspect(parsed: argparse.Namespace, _: Call) -> int:
    """Look into native code. Returns the exit status."""
    from egressmon.cli.analysing import inspect  # noqa: PLC0415

    return inspect.inspect_native(
        inspect.InspectRequest(
            paths=parsed.paths,
            python=parsed.python,
            policy=parsed.policy,
            form=parsed.form,
            roots=parsed.roots,
        )
    )


def add_inspect_options(add: Add, name: str) -> None:
    """Add the verb `inspect`."""
    from egressmon.cli.options.inspect import add_inspect  # noqa: PLC0415

    add_inspect(add, name)
