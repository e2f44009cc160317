"""How processes look names up, where networks have names of their own."""

from egressmon import host
from egressmon.naming.place_files import GONE, MACHINES, PlaceFiles, Viewer, look
from egressmon.naming.places import Look
from egressmon.naming.served import Served
from egressmon.runs.state import RunState
from egressmon.values import replace


def looker(state: RunState, served: Served) -> Look:
    """Return what finds the files by which a process looks names up.

    `served` knows where this machine serves DNS to containers.
    """
    own = host.own_mounts()
    processes, machines = state.knowledge.processes, state.judge.search

    def look_at(pid: int) -> PlaceFiles:
        process = processes.get(pid)
        mounts = process.mounts if process is not None else 0
        if mounts == own:
            return MACHINES
        since = processes.mount_ages.since_ns(mounts)
        wall = since + state.clock.offset_ns if since is not None else None
        found = GONE
        for viewer in (pid, *processes.viewers(pid)):
            found = look(Viewer(viewer, wall), machines)
            if found.is_read:
                break
        # Whether its process is gone or not, by what its engine serves it.
        return replace(found, servers=(*found.servers, *served.addresses()))

    return look_at
