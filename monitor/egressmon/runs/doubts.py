"""What, looking back, casts doubt on a run: things around it that somebody changed."""

from contextlib import suppress
from pathlib import Path

from egressmon.runs.arming import Armed
from egressmon.runs.state import RunState
from egressmon.startup import caller

_MIGRATION = Path("/proc/sys/net/ipv4/tcp_migrate_req")


def look_back(state: RunState, armed: Armed) -> None:
    """Add what was changed around the run to its doubts."""
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


# Since 5.14: where a listener closes, the kernel gives the connections that it has not
# accepted, with what was sent to them, to another one of the port (Documentation/
# networking/ip-sysctl.rst), and no packet tells of it.
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
