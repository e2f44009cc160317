"""The command `egressmon`. Only here errors become text and an exit status."""

import sys
from collections.abc import Callable

from egressmon.cli.options import parsing
from egressmon.cli.requests import Call
from egressmon.cli.verbs.table import VERBS, Verb
from egressmon.errors import EgressmonError
from egressmon.policy.errors import PolicyError
from egressmon.probes.errors import ProbeError
from egressmon.probes.loaders.loading import Preparation
from egressmon.startup import limits
from egressmon.startup.ownership import ForeignCodeError
from egressmon.startup.patience import patient
from egressmon.text import guarded

CANNOT = 125
BAD_USAGE = 2


def main(early: Preparation | None = None) -> int:
    """Run the command line and return the exit status.

    `early` is loading the probes since before the arguments were read.
    """
    arguments = sys.argv[1:]
    _guard_streams()
    named = VERBS.get(arguments[0]) if arguments else None
    running = named is not None and named.watches(arguments)
    try:
        parsed = parsing.parse(arguments, add_verbs if named is None else _only(named))
        return VERBS[parsed.verb].run(parsed, Call(arguments, early))
    except EgressmonError as error:
        _explain(error, str(error), error.hint, arguments)
        return error.status if running else error.other_status
    except (PolicyError, ProbeError) as error:
        _explain(error, str(error), error.hint, arguments)
        return CANNOT if running else BAD_USAGE
    except ForeignCodeError:
        raise  # start.py explains it, as when it finds out itself
    except Exception as error:
        # From the command's start on, runs/run.py handles these.
        if not running:
            raise
        defect = str(error), "this is a defect; --verbose shows where"
        _explain(error, *(limits.explained(error) or defect), arguments)
        return CANNOT


def add_verbs(add: parsing.Add) -> None:
    """Add all verbs to the command line, with `add`."""
    for name, verb in VERBS.items():
        verb.add(add, name)


# The options of all verbs take 4 ms to describe.
def _only(verb: Verb) -> Callable[[parsing.Add], None]:
    name = next(name for name, one in VERBS.items() if one is verb)
    return lambda add: verb.add(add, name)


def _guard_streams() -> None:
    sys.stdout = guarded(sys.stdout)
    sys.stderr = guarded(patient(sys.stderr))


def _explain(error: Exception, text: str, hint: str, arguments: list[str]) -> None:
    before_command = (
        arguments[: arguments.index("--")] if "--" in arguments else arguments
    )
    if "--verbose" in before_command:
        import traceback  # noqa: PLC0415 -- slow, and rarely needed

        traceback.print_exc()
        if log := getattr(error, "log", ""):
            sys.stderr.write(f"{log}\n")
    from egressmon.reports.writing.explaining import explanation  # noqa: PLC0415 -- rare

    sys.stderr.write(explanation(text, hint))
