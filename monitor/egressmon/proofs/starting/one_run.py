"""Carry out one run: as `egressmon watch` does, with the launcher as the command."""

import json
import os
import socket
import sys
from contextlib import suppress

from egressmon.attribution import Level
from egressmon.errors import EgressmonError
from egressmon.policy.reading.file import LoadedPolicy
from egressmon.privileges.privilege import User
from egressmon.probes.errors import ProbeError
from egressmon.probes.loaders.loading import Choice, Preparation
from egressmon.reports.runs.outcome import Outcome
from egressmon.reports.writing.explaining import explanation
from egressmon.runs import run
from egressmon.runs.plan import RunOptions
from egressmon.runs.state import make_state
from egressmon.sanitise.argv_mode import ArgvMode
from egressmon.sensor.escalation import SudoQuery
from egressmon.startup import descriptors
from egressmon.startup.stored_types import stored
from egressmon.values import dataclass, replace

_CANNOT = 125
_PATH = b"/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What all runs of a proof have in common."""

    loaded: LoadedPolicy
    user: User
    engine: Choice
    attribution: Level
    argv: ArgvMode
    evidence_limit: int
    catch_up_s: float
    verbose: bool


def carry_out(
    settings: RunSettings, path: str, linger_s: float, files: list[int]
) -> int:
    """Make a run whose evidence goes to `path`, and return its exit status.

    `files` are the evidence, open for writing, and the ends of two connections: of the
    run's control, and of the launcher, which it inherits. The function returns in
    another process than it was called in, as `run.execute` does.
    """
    evidence, control, launcher = files
    descriptors.hand_down(launcher)
    connection = socket.socket(fileno=control)
    options = _options(settings, path, linger_s, evidence, connection, launcher)
    try:
        outcome = _execute(settings, options)
    except (EgressmonError, ProbeError) as error:
        _tell(connection, {"error": str(error), "hint": error.hint})
        sys.stderr.write(explanation(error, error.hint))
        return getattr(error, "status", _CANNOT)
    _tell(connection, {"end": _as_json(outcome)})
    return outcome.end.exit_status


def _execute(settings: RunSettings, options: RunOptions) -> Outcome:
    frames = settings.attribution == "full"
    engine = Preparation(settings.engine, frames=frames, stored=stored).engine()
    state = make_state(options, run.run_identifier())
    return run.execute(state, engine, lambda _record: None)


def _options(  # noqa: PLR0913, PLR0917 -- what a run is made of
    settings: RunSettings,
    path: str,
    linger_s: float,
    evidence: int,
    control: socket.socket,
    launcher: int,
) -> RunOptions:
    user = settings.user
    options = RunOptions(
        command=_launcher(launcher),
        loaded=settings.loaded,
        enforce=settings.loaded.policy.enforce,
        evidence_path=path,
        evidence_file=os.fdopen(evidence, "wb", 0),
        evidence_error=None,
        # What is set for its processes must have no effect on the launcher: each gets
        # its environment as it is started.
        user=User.of_block((user.uid, user.gid, user.groups), (b"PATH=" + _PATH,)),
        attribution=settings.attribution,
        evidence_limit=settings.evidence_limit,
        argv=settings.argv,
        linger_s=linger_s,
        catch_up_s=settings.catch_up_s,
        quiet=True,
        verbose=settings.verbose,
        control=control,
        ends_scope=True,
    )
    return replace(options, sudo=SudoQuery(user)) if options.may_gain else options


def _launcher(descriptor: int) -> list[bytes]:
    words = (sys.executable, "-I", "-m", "egressmon.proofs.launcher", str(descriptor))
    return [os.fsencode(word) for word in words]


# What the agent knows from its own memory, whatever is in the file by now.
def _as_json(outcome: Outcome) -> dict[str, object]:
    end = outcome.end
    return {
        "head": outcome.evidence_head,
        "records": outcome.evidence_records,
        "failure": outcome.evidence_failure,
        "verdict": end.verdict,
        "complete": end.complete,
        "reasons": end.incomplete_reasons[:100],
        "exit_status": end.exit_status,
    }


def _tell(connection: socket.socket, message: dict[str, object]) -> None:
    with suppress(OSError):  # prove is gone
        connection.send(json.dumps(message).encode(), socket.MSG_DONTWAIT)
