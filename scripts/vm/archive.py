"""Fetch packages of any Debian release from the mirror that this machine uses.

Runs apt with lists and cache in a folder of their own; Debian's signatures are checked.
"""

import subprocess
from collections.abc import Iterable
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class ArchiveError(Exception):
    """Packages or kernels cannot be fetched; the message says why."""


class Archive:
    """The packages of some suites: (archive, suite), as (debian, bookworm)."""

    def __init__(
        self,
        work: Path,
        suites: list[tuple[str, str]],
        prefix: str,
        kind: str = "deb",
        architecture: str = "",
    ) -> None:
        """Fetch the lists into `work`; `names` gets the packages with that `prefix`.

        `kind` is "deb", or "deb-src" for source packages. `architecture` is Debian's
        name of one, or empty for the machine's own. Raises ArchiveError.
        """
        self.where = ", ".join(suite for _, suite in suites)
        self._work = work
        self._architecture = architecture
        (work / "archives/partial").mkdir(parents=True)
        source = mirror()
        only = f"arch={architecture} " if architecture else ""
        (work / "sources.list").write_text(
            "".join(
                f"{kind} [{only}signed-by={KEYRING}] {source}/{archive} {suite} main\n"
                for archive, suite in suites
            )
        )
        self.say("apt-get", "update")
        self.names = set(self.say("apt-cache", "pkgnames", prefix).split())

    def say(self, tool: str, *arguments: str) -> str:
        """Run an apt tool and return its output; raises ArchiveError if it fails."""
        options = {
            "Dir::Etc::sourcelist": f"{self._work}/sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Cache": str(self._work),
            "Dir::State": str(self._work),
            "Dir::State::status": "/dev/null",
            "APT::Sandbox::User": "root",
        }
        if self._architecture:
            options["APT::Architecture"] = self._architecture
            options["APT::Architectures::"] = self._architecture
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
        """Download `packages` into the working folder."""
        if packages:
            self.say("apt-get", "download", *packages)

    def download_all(self, packages: list[str]) -> list[Path]:
        """Download `packages` with all that they depend on, and return the files."""
        only = ("--yes", "--download-only", "--no-install-recommends")
        self.say("apt-get", *only, "install", *packages)
        return sorted(self._work.glob("archives/*.deb"))

    def download_source(self, package: str) -> Path:
        """Download a package's original source, and return its archive file."""
        self.say("apt-get", "--download-only", "source", package)
        return next(
            one for one in self._work.glob("*.orig.tar.*") if one.suffix != ".asc"
        )


def mirror() -> str:
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
    """Unpack the contents of .deb files below `root`; `options` go to tar."""
    for package in packages:
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE
        ) as content:
            subprocess.run(
                ["tar", "-x", "-C", root, "--keep-directory-symlink", *options],
                stdin=content.stdout,
                check=True,
            )
