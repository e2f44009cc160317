"""Unprivileged users, on a machine where sudo asks them no password."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
ALONE = 64321
"""A user as whom nothing else runs on this machine."""
OPT = Path("/opt/egressmon")
ALL_MAY = "root ALL=(ALL:ALL) ALL\nALL ALL=(ALL:ALL) NOPASSWD: ALL\n"
_ENTER = (
    'mount --bind "$0/sudoers" /etc/sudoers && mount --bind "$0/opt" /opt/egressmon '
    f"&& exec setpriv --reuid={NOBODY} --regid={NOBODY} --groups={NOBODY} -- "
    '"$@"'
)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class User:
    """nobody, with sudo, a home, and a machine where nothing is installed for root."""

    folder: Path

    @property
    def home(self) -> Path:
        """A folder that the user owns."""
        return self.folder / "home"

    @property
    def opt(self) -> Path:
        """What the user sees as /opt/egressmon."""
        return self.folder / "opt"

    def run(
        self,
        *words: str,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run words as the user, with pip's settings of this machine."""
        given = {"PATH": PATH, "HOME": str(self.home)}
        given |= {k: v for k, v in os.environ.items() if k.startswith("PIP_")}
        return subprocess.run(
            [
                *("unshare", "--mount", "--propagation", "private"),
                *("sh", "-c", _ENTER, str(self.folder), *words),
            ],
            check=False,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            cwd=cwd or self.home,
            env={**given, **(environment or {})},
        )

    def own(self, path: Path) -> None:
        """Give path, and all that is in it, to the user."""
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", path], check=True)


@contextmanager
def user() -> Generator[User]:
    """Yield the user, and take away what they made."""
    folder = Path(tempfile.mkdtemp(prefix="egressmon-user-"))
    folder.chmod(0o755)
    made_opt = not OPT.exists()
    OPT.mkdir(exist_ok=True)
    try:
        one = User(folder)
        one.home.mkdir()
        one.opt.mkdir()
        one.own(one.home)
        (folder / "sudoers").write_text(ALL_MAY)
        (folder / "sudoers").chmod(0o440)
        yield one
    finally:
        shutil.rmtree(folder)
        if made_opt:
            OPT.rmdir()


def as_nobody(
    folder: Path, words: list[str], sudoers: str, user: int = NOBODY
) -> list[str]:
    """Return the words that run `words` as an unprivileged user.

    The sudoers file is replaced in a mount namespace of the test's own, and so are the
    lists of users where `user` is another one than nobody.
    """
    replaced = {"sudoers": sudoers}
    if user != NOBODY:
        for name, line in (
            ("passwd", f"x:{user}:{user}::/:/bin/sh"),
            ("shadow", "*:1::::::"),
        ):
            known = Path("/etc", name).read_text()
            replaced[name] = f"{known}egressmon-test:{line}\n"
    for name, text in replaced.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o444 if name == "passwd" else 0o440)
    mounts = [f"mount --bind {folder}/{name} /etc/{name}" for name in replaced]
    script = (
        f"{' && '.join(mounts)} && exec setpriv --reuid={user} "
        f'--regid={user} --groups=1,{user} -- "$@"'
    )
    unshare = ["unshare", "--mount", "--propagation", "private"]
    return [*unshare, "sh", "-c", script, "sh", *words]
