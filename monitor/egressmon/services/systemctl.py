"""Ask systemctl to have a unit started at each boot."""

import os
import subprocess

from egressmon.errors import UsageError
from egressmon.startup import ownership

_PROGRAMS = ("/usr/bin/systemctl", "/bin/systemctl")
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_PATIENCE_S = 60
_RUNNING = "/run/systemd/system"  # sd_booted(3)


def is_running() -> bool:
    """Tell whether this machine was started by systemd."""
    return os.path.isdir(_RUNNING)  # noqa: PTH112 -- as sd_booted does


def enable(name: str, root: str) -> None:
    """Have the unit `name` below the folder `root` started at each boot.

    Raises `UsageError`.
    """
    program = _find()
    at = [] if root == "/" else [f"--root={root}"]
    _run(program, *at, "--no-ask-password", "enable", name)
    if root == "/" and is_running():
        _run(program, "daemon-reload")


# PATH is not searched: this runs as root.
def _find() -> str:
    for path in _PROGRAMS:
        if os.access(path, os.X_OK) and not ownership.obstacle(path):
            return path
    raise UsageError(
        "the unit was written, but there is no systemctl to enable it with",
        "install systemd, or leave --enable out",
    )


def _run(*words: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 -- our own words
            words,
            check=False,
            cwd="/",
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PATIENCE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"the unit was written, but {error}", _HINT) from error
    if done.returncode:
        text = done.stdout[-500:].decode("utf-8", "replace").strip()
        raise UsageError(f"the unit was written, but not enabled: {text}", _HINT)


_HINT = "say it yourself: systemctl enable egressmon-sidecar"
