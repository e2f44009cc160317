"""What a run knows of the machine's containers from its start, made with rights."""

import socket
from pathlib import Path

from egressmon.containers import asker
from egressmon.containers.cgroups import Cgroup, Cgroups, members, walk
from egressmon.containers.choice import Choice
from egressmon.containers.known import Containers, Tell
from egressmon.containers.paths import Engine
from egressmon.containers.questions import Questions
from egressmon.containers.sources import Source, sources_with
from egressmon.values import dataclass


@dataclass(frozen=True, slots=True)
class Around:
    """The cgroups that were there, and who can ask engines."""

    root: Path
    """The v2 hierarchy's, which everybody can read."""
    cgroups: list[Cgroup]
    sources: tuple[Source, ...]
    asker: int
    """Its pid."""
    connection: socket.socket
    """The agent's end of its socket."""
    members: dict[int, str]
    """Of each process that was there the path of its cgroup, where that is asked."""

    def close(self) -> None:
        """Close the socket, in a process that does not ask."""
        self.connection.close()

    def containers(self, tell: Tell, choice: Choice | None = None) -> Containers:
        """Return the containers; `tell` is called with a record of each.

        `choice` judges which are watched; None: nobody asks.
        """
        return Containers(
            Cgroups(self.cgroups),
            Questions(self.connection, self.sources),
            tell,
            lambda: walk(str(self.root)),
            choice,
        )


def look_around(
    root: Path, sockets: dict[Engine, str], *, with_members: bool = False
) -> Around:
    """Walk the hierarchy at `root`, and start the process that asks engines.

    `sockets` are those that are elsewhere than usual. `with_members`: each process is
    looked up, too. Call it once the probes tell which cgroups come and go. Raises
    OSError.
    """
    sources = sources_with(sockets)
    found = members() if with_members else {}
    cgroups = walk(str(root))
    pid, connection = asker.start(sources)
    return Around(root, cgroups, sources, pid, connection, found)
