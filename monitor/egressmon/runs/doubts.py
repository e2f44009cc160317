"""Look, at the end of a run, for changes around it that make its evidence doubtful."""

from contextlib import suppress
from pathlib import Path

from egressmon.runs.arming import Armed
from egressmon.runs.state import RunState
from egressmon.startup import caller

_MIGRATION = Path("/proc/sys/net/ipv4/tcp_migrate_req")


def add_changes(state: RunState, armed: Armed) -> None:
    """Add to the run's doubts each change around it that could hide something."""
    isolated = state.faults.isolated
    with isolated("looking for changes of the network"):
        _doubt_network(state, armed)
    with isolated("looking for listeners that take over"):
        _doubt_migration(state)
    with isolated("looking for sudo"):
        _doubt_sudo(state)
    with isolated("looking for the summary page"):
        _doubt_page(state)


def _doubt_network(state: RunState, armed: Armed) -> None:
    if armed.network is not None:
        state.ending.doubts += [
            f"the network was changed during the run: {change}"
            for change in armed.network.changes()
        ]


# With this setting (since Linux 5.14), when a listener closes, the kernel moves the
# connections that it has not accepted, with the data sent to them, to another listener
# of the same port (Documentation/networking/ip-sysctl.rst). No packet shows that.
def _doubt_migration(state: RunState) -> None:
    with suppress(OSError):
        if int(_MIGRATION.read_text()):
            state.ending.doubts.append(
                "net.ipv4.tcp_migrate_req is on: connections to a listener of the "
                "scope may have gone on to another process"
            )


def _doubt_sudo(state: RunState) -> None:
    sudo = caller.calling_sudo()
    if sudo is not None and sudo.has_ended():
        state.ending.doubts.append(
            "sudo, which called, was ended: its status is not this run's"
        )


def _doubt_page(state: RunState) -> None:
    page = state.options.page
    if page is not None and (why := page.why_not_ours()):
        state.ending.doubts.append(why)
