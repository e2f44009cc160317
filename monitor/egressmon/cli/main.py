"""The command `egressmon`: the only place that turns errors into text and status."""

import argparse
import os
import sys
import traceback

from egressmon.cli import options as command_line
from egressmon.errors import EgressmonError
from egressmon.policy.errors import PolicyError
from egressmon.probes.errors import ProbeError
from egressmon.probes.loaders.loading import Preparation
from egressmon.startup.ownership import ForeignCodeError
from egressmon.text import guarded, printable

CANNOT = 125
BAD_USAGE = 2
_RUNNING = ("watch", "learn")


def main(early: Preparation | None = None) -> int:
    """Run the command line and return the exit status.

    `early` is what was begun to load before the arguments were read.
    """
    arguments = sys.argv[1:]
    _guard_streams()
    running = arguments[:1] in ([verb] for verb in _RUNNING)
    try:
        parsed = command_line.parse(arguments)
        return _dispatch(parsed, arguments, early)
    except EgressmonError as error:
        _explain(error, error.hint, arguments)
        return error.status if running else BAD_USAGE
    except (PolicyError, ProbeError) as error:
        _explain(error, error.hint, arguments)
        return CANNOT if running else BAD_USAGE
    except ForeignCodeError:
        raise  # start.py says so, as it does where it finds out before
    except Exception as error:
        # Ours, not the user's. Once the command runs, run.py sees to such errors.
        if not running:
            raise
        _explain(error, "this is a defect; --verbose shows where", arguments)
        return CANNOT


def _guard_streams() -> None:
    sys.stdout, sys.stderr = guarded(sys.stdout), guarded(sys.stderr)


def _dispatch(
    options: argparse.Namespace, arguments: list[str], early: Preparation | None
) -> int:
    # Each verb imports what it needs: `watch` must be armed soon.
    match options.verb:
        case "watch" | "learn":
            preparation = _preparation(options, early)
            if options.verb == "watch":
                from egressmon.cli.watch import watch as run  # noqa: PLC0415
            else:
                from egressmon.cli.learn import learn as run  # noqa: PLC0415
            return run(options, arguments, preparation)
        case "policy":
            from egressmon.cli import policy  # noqa: PLC0415

            if options.policy_verb == "check":
                return policy.check(
                    options.file, strict=options.strict, digest=options.policy_digest
                )
            origin = policy.parse_origin(options)
            return policy.explain(options.file, options.destination, origin)
        case "install":
            from egressmon.installation import install  # noqa: PLC0415

            return install.command(options)
        case _:
            from egressmon.cli import doctor  # noqa: PLC0415

            checks = doctor.examine()
            doctor.print_report(checks)
            return int(any(check.found is False for check in checks))


# The probes load (in C) while Python imports the rest.
def _preparation(
    options: argparse.Namespace, early: Preparation | None
) -> Preparation | None:
    if os.geteuid() != 0:
        return None
    frames = options.attribution == "full"
    if early is not None and early.asked == (options.engine, frames):
        return early
    if early is not None:
        early.engine().close()
    return Preparation(options.engine, frames=frames)


def _explain(error: Exception, hint: str, arguments: list[str]) -> None:
    before_command = (
        arguments[: arguments.index("--")] if "--" in arguments else arguments
    )
    if "--verbose" in before_command:
        traceback.print_exc()
        if log := getattr(error, "log", ""):
            sys.stderr.write(f"{log}\n")
    lines = [printable(line, 2000) for line in str(error).splitlines()]
    sys.stderr.write(
        "error: " + "\n".join(lines) + f"\nhint: {printable(hint, 2000)}\n"
    )
