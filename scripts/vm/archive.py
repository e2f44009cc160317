"""Packages of any of Debian's releases, from the machine's own mirror.

An apt that keeps its lists and cache in a folder of its own, and checks Debian's
signatures.
"""

import subprocess
from collections.abc import Iterable
from pathlib import Path

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class ArchiveError(Exception):
    """Something cannot be had; the message says why."""


class Archive:
    """Suites of the archive: each an archive's name and a suite's."""

    def __init__(
        self, work: Path, suites: list[tuple[str, str]], prefix: str, kind: str = "deb"
    ) -> None:
        """Keep everything in work, and know the packages that begin with prefix.

        With kind "deb-src", the sources of packages instead. Raises ArchiveError.
        """
        self.where = ", ".join(suite for _, suite in suites)
        self._work = work
        (work / "archives/partial").mkdir(parents=True)
        mirror = _mirror()
        (work / "sources.list").write_text(
            "".join(
                f"{kind} [signed-by={_KEYRING}] {mirror}/{archive} {suite} main\n"
                for archive, suite in suites
            )
        )
        self.say("apt-get", "update")
        self.names = set(self.say("apt-cache", "pkgnames", prefix).split())

    def say(self, tool: str, *arguments: str) -> str:
        """Return what an apt tool prints; raises ArchiveError where it fails."""
        options = {
            "Dir::Etc::sourcelist": f"{self._work}/sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Cache": str(self._work),
            "Dir::State": str(self._work),
            "Dir::State::status": "/dev/null",
            "APT::Sandbox::User": "root",
        }
        words = [f"-o{name}={value}" for name, value in options.items()]
        done = subprocess.run(
            [tool, "-qq", *words, *arguments],
            cwd=self._work,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ArchiveError(f"{tool} {arguments[0]} failed")
        return done.stdout

    def download(self, packages: list[str]) -> None:
        """Fetch packages into the working folder."""
        if packages:
            self.say("apt-get", "download", *packages)

    def download_all(self, packages: list[str]) -> list[Path]:
        """Return the files of packages and of all that they depend on, fetched."""
        only = ("--yes", "--download-only", "--no-install-recommends")
        self.say("apt-get", *only, "install", *packages)
        return sorted(self._work.glob("archives/*.deb"))

    def download_source(self, package: str) -> Path:
        """Return the archive of a package's original source, fetched."""
        self.say("apt-get", "--download-only", "source", package)
        return next(
            one for one in self._work.glob("*.orig.tar.*") if one.suffix != ".asc"
        )


def _mirror() -> str:
    """Return the address of the Debian mirror that this machine's apt uses."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    for line in done.stdout.split():
        address = line.rstrip("/")
        if address.endswith("/debian"):
            return address.removesuffix("/debian")
    raise ArchiveError("apt has no Debian mirror (deb .../debian in sources.list)")


def unpack(packages: Iterable[Path], root: Path, *options: str) -> None:
    """Unpack the files of packages below root; options are tar's."""
    for package in packages:
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE
        ) as content:
            subprocess.run(
                ["tar", "-x", "-C", root, "--keep-directory-symlink", *options],
                stdin=content.stdout,
                check=True,
            )
