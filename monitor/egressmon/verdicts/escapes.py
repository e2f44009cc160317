"""Make a record of each escape: a way past the hooks that a process took."""

import re
import socket

from egressmon.attribution.helpers import NETWORK_HELPERS
from egressmon.attribution.processes import Processes
from egressmon.events.model import Escape
from egressmon.evidence.records.traffic import EscapeRecord

_FAMILIES = {
    int(socket.AF_UNIX): "unix",
    int(socket.AF_PACKET): "packet",
    int(socket.AF_VSOCK): "vsock",
    44: "xdp",  # AF_XDP; include/linux/socket.h
}
# Matched against the name that the listener bound: no link and no bind mount
# changes it.
_LAUNCHERS = re.compile(
    r"docker|containerd|podman|crio|cri-o|buildkit|libvirt|lxd|incus|systemd/private"
)
_UNREAD = "what goes over it is not seen"


def family_name(number: int) -> str:
    """Return a short name for the socket family `number`, or the number as text."""
    return _FAMILIES.get(number) or str(number)


def record(event: Escape, processes: Processes) -> EscapeRecord | None:
    """Return the record of `event`; None if the scope itself listens there."""
    # It may have ended, so that the probes took it for one outside.
    if event.means == "unix" and processes.is_own_listener(event):
        return None
    what, reason = _meaning(event)
    process, why_not = processes.actor(event)
    told = "a process outside the scope listens there: what it is asked is not seen"
    if event.means == "tun" and (helper := _carrier(event, processes)) is not None:
        reason, told = None, by_helper(helper)
    return EscapeRecord(
        what=what,
        family=family_name(event.family) if event.family else None,
        path=event.path,
        listener=event.peer or None,
        process=process,
        process_reason=why_not,
        doubt=reason is not None,
        reason=reason or told,
    )


def by_helper(helper: str) -> str:
    """Return why a TUN device that such a `helper` has set up casts no doubt."""
    return (
        f"{helper} carries by it what a container's network sends: that is seen as it "
        "is begun there, and once more as the helper makes it"
    )


# What is preloaded into a helper may be anybody's code.
def _carrier(event: Escape, processes: Processes) -> str | None:
    process = processes.helper(event)
    if process is None or process.preloaded is not None:
        return None
    return process.helper if process.helper in NETWORK_HELPERS else None


# What was reached, and why the run's evidence is incomplete then; None: it is not.
def _meaning(event: Escape) -> tuple[str, str | None]:
    if event.means == "tun":
        return "tun-device", f"a TUN or TAP device was set up: {_UNREAD}"
    if event.means == "unix":
        if event.path is None or not _LAUNCHERS.search(event.path):
            return "unix-socket", None
        return "launcher", (
            f"{event.path} was reached: what was started through it is not watched"
        )
    name = family_name(event.family)
    if event.means == "ring" and name == "unix":
        return "unix-socket", (
            "a UNIX socket was connected through io_uring: to whom is not known"
        )
    return f"{name}-socket", f"a socket of family {name} was opened: {_UNREAD}"
