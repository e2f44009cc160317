"""What, looking back, casts doubt on a run: things around it that somebody changed."""

from egressmon.runs.arming import Armed
from egressmon.runs.state import RunState
from egressmon.startup import caller


def look_back(state: RunState, armed: Armed) -> None:
    """Add what was changed around the run to its doubts."""
    isolated = state.faults.isolated
    with isolated("looking for changes of the network"):
        _doubt_network(state, armed)
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
