"""`egressmon policy check`: is a policy fine, and does it fit what was reached?"""

import sys

from egressmon.cli.policy.loading import load_and_remark
from egressmon.cli.requests import CheckRequest
from egressmon.errors import UsageError
from egressmon.policy.reading.lines import line_of
from egressmon.text import printable


def check(request: CheckRequest) -> int:
    """Validate a policy, print its digest, and return the exit status.

    It is 1 if the digest is not the one wanted, or if an allow entry has no reason and
    `strict` is set; else 0. Where evidence is given, the policy is compared with it.
    """
    if request.form == "json" and not request.against:
        raise UsageError("--format json is of no use alone", "give --against, too")
    file, digest, strict = request.file, request.digest, request.strict
    loaded, shown = load_and_remark(file), printable(file)
    if digest is not None and loaded.digest != digest:
        sys.stdout.write(f"{shown}: its digest is {loaded.digest}, not {digest}\n")
        return 1
    policy = loaded.policy
    bare = [index for index, entry in enumerate(policy.allow) if not entry.reason]
    if strict and bare:
        for index in bare:
            line = line_of(loaded.text, ("allow", index))
            sys.stdout.write(f"{shown}:{line}: allow[{index}]: no reason is given\n")
        return 1
    if request.against:
        from egressmon.cli.policy.against import against  # noqa: PLC0415 -- slow

        return against(loaded, request.against, request.form, strict=strict)
    denials = f"{len(policy.deny)} deny entries, " if policy.deny else ""
    sys.stdout.write(
        f"{shown}: fine; {len(policy.allow)} allow entries, {denials}enforce = "
        f'"{policy.enforce}"\n{shown}: {loaded.digest}\n'
    )
    return 0
