"""What the keeper is told before it parts from the agent."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from egressmon.keeping.launch import Launched
from egressmon.keeping.segments import RunFolder
from egressmon.keeping.signals import SignalRelay
from egressmon.privileges.privilege import User
from egressmon.probes.engine import Engine
from egressmon.sensor.scope import Scope
from egressmon.values import dataclass

if TYPE_CHECKING:
    from egressmon.keeping.kept import Keeping


@dataclass(frozen=True, slots=True)
class KeeperSetup:
    """What the keeper needs to serve the agent and to end the run."""

    engine: Engine
    scope: Scope
    child: Launched
    relay: SignalRelay
    user: User
    ready_file: str | None
    allow_incomplete: bool
    close_agents_files: Callable[[], None]
    """Closes the files that only the agent uses."""
    at_end: Callable[[], str] | None
    """Called with the user's rights after the agent's end; returns an error or ""."""
    ends_scope: bool = False
    """Whether to kill what still runs in the scope at the end."""
    is_standing: bool = False
    """Whether the command only waits for the run's end, to which the agent puts it."""
    segments: RunFolder | None = None
    """Where the evidence is written; None: in a file that is open from the start."""
    open_policy: Callable[[], int] | None = None
    """Opens the run's policy again; None: it was in no file."""
    notify: Callable[[int, int, int], None] | None = None
    """Tells the service manager the run's state, and two counts; None: nobody asks."""
    kept: "Keeping | None" = None
    """Keeps the probes for a run that follows; None: nobody does."""
    release: Callable[[], None] | None = None
    """Called last of all, with root's rights."""
