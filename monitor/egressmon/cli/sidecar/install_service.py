"""`egressmon sidecar install-service`: have systemd run the sidecar."""

import argparse
import sys
from typing import NamedTuple

from egressmon.errors import UsageError
from egressmon.policy.errors import PolicyError
from egressmon.services import systemctl
from egressmon.services.launcher import find_launcher
from egressmon.services.place import Found, UnitFolder
from egressmon.services.unit import NAME, is_ours, text_of
from egressmon.startup import ownership
from egressmon.text import printable


class InstallServiceRequest(NamedTuple):
    """What `egressmon sidecar install-service` is asked."""

    root: str
    """The folder that is the root folder of the machine that is to run it."""
    policy: str | None
    """The policy's absolute path on that machine; None: everything is reported."""
    only_print: bool
    enable: bool
    force: bool

    @classmethod
    def of(cls, parsed: argparse.Namespace) -> "InstallServiceRequest":
        """Return the options in `parsed`."""
        return cls(
            root=parsed.root,
            policy=parsed.policy,
            only_print=parsed.print,
            enable=parsed.enable,
            force=parsed.force,
        )


def install_service(request: InstallServiceRequest) -> int:
    """Write the unit that `request` asks for, say what is next, and return the status.

    Standard output gets the path of the unit, or its text. Raises `UsageError`, or
    `PrivilegeError` if no installation is root's alone.
    """
    _require_absolute(request)
    root = request.root.rstrip("/") or "/"
    if request.policy is not None:
        _require_policy(f"{root.rstrip('/')}{request.policy}")
    text = text_of(_inside(find_launcher(), root), request.policy)
    if request.only_print:
        sys.stdout.write(text)
        return 0
    folder = UnitFolder(root)
    try:
        said = _write(folder, text, force=request.force)
    finally:
        folder.close()
    if request.enable:
        systemctl.enable(NAME, root)
    sys.stdout.write(f"{printable(folder.path, 2000)}/{NAME}\n")
    sys.stderr.write(f"egressmon: {said}{_next(request, root)}")
    return 0


def _require_absolute(request: InstallServiceRequest) -> None:
    for option, path in (("--root", request.root), ("--policy", request.policy)):
        if path is None:
            continue
        if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
            raise UsageError(
                f"{option} {path} is no absolute path",
                "a service has no working directory: give the path from / on, "
                "without ..",
            )


# A service that starts again and again on a policy that cannot be read sees nothing.
def _require_policy(path: str) -> None:
    from pathlib import Path  # noqa: PLC0415 -- for this option alone

    from egressmon.policy.reading.file import load_policy  # noqa: PLC0415 -- as above

    if reason := ownership.obstacle(path):
        raise UsageError(
            f"others than root could change the policy: {reason}",
            "copy it to a folder of root's: install -m 644 egress.toml /etc/egressmon/",
        )
    try:
        load_policy(Path(path))
    except PolicyError as error:
        raise UsageError(str(error), error.hint) from error


# On the machine that is to run it, the root folder's own path is not there.
def _inside(launcher: str, root: str) -> str:
    return launcher if root == "/" else launcher.removeprefix(root)


def _write(folder: UnitFolder, text: str, *, force: bool) -> str:
    found = folder.find(NAME)
    if found is not None and found.text == text:
        return "the service was installed already, as it is to be\n"
    if found is not None and not force:
        _require_ours(found, f"{folder.path}/{NAME}")
    folder.write(NAME, text)
    return f"the service was {'installed' if found is None else 'replaced'}\n"


def _require_ours(found: Found, path: str) -> None:
    if found.text is None:
        raise UsageError(f"{path} is {found.what}", "remove it, or give --force")
    if not is_ours(found.text):
        raise UsageError(
            f"{path} is not as egressmon wrote it: somebody changed it, or made it",
            f"keep changes in a drop-in (systemctl edit {NAME}), then give --force",
        )


def _next(request: InstallServiceRequest, root: str) -> str:
    if root != "/":
        shown = printable(root, 2000)
        step = "" if request.enable else f"; systemctl --root={shown} enable {NAME}"
        return f"  next: it starts when {shown} boots{step}\n"
    steps = [] if request.enable else ["systemctl daemon-reload"]
    verb = "start" if request.enable else "enable --now"
    steps += [f"systemctl {verb} {NAME}", "egressmon sidecar status"]
    return "".join(f"  next: {step}\n" for step in steps)
