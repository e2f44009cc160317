"""A network without a way out but a real pasta, as rootless podman makes it."""

import os
import shutil
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from support.lab import Lab
from support.users import NOBODY

PASTA = shutil.which("pasta")
_TUN = Path("/dev/net/tun")


def why_not() -> str | None:
    """Return why pasta cannot be run here; None: it can, or not to be is a failure."""
    if os.environ.get("EGRESSMON_KERNEL_TESTS") == "1":
        return None
    if PASTA is None:
        return "there is no pasta (apt-get install passt)"
    return None if _TUN.exists() else "there is no /dev/net/tun"


@contextmanager
def rootless(network: Lab) -> Generator[list[str]]:
    """Yield the words that run what follows as a user behind pasta."""
    folder = Path(tempfile.mkdtemp(prefix="egressmon-tun-", dir="/root"))
    device = folder / "tun"
    # On most machines anybody may open it.
    os.mknod(device, stat.S_IFCHR | 0o666, _TUN.stat().st_rdev)
    device.chmod(0o666)
    script = f'mount --bind {device} {_TUN} && exec "$@"'
    try:
        yield [
            *("nsenter", f"--net=/run/netns/{network.client}"),
            *("unshare", "--mount", "--propagation", "private"),
            *("sh", "-c", script, "sh", "setpriv", "--clear-groups"),
            *(f"--reuid={NOBODY}", f"--regid={NOBODY}"),
            *(str(PASTA), "--config-net", "-4", "-f", "--no-map-gw", "--"),
        ]
    finally:
        shutil.rmtree(folder)
