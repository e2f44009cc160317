"""What dpkg keeps of installed packages, for packages that were only unpacked."""

import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path


def write(packages: Iterable[Path], root: Path) -> None:
    """Write dpkg's records below `root` as if it had installed these .deb files.

    They are the status file and each package's list of files (dpkg-query(1)), by which
    the agent knows what package a file is of.
    """
    folder = root / "var/lib/dpkg/info"
    folder.mkdir(parents=True, exist_ok=True)
    paragraphs: list[str] = []
    for package in packages:
        fields = _said("-f", package).rstrip("\n")
        name, _, rest = fields.partition("\n")
        paragraphs.append(f"{name}\nStatus: install ok installed\n{rest}\n")
        known = dict(line.split(": ", 1) for line in fields.split("\n") if ": " in line)
        record = known["Package"]
        if known.get("Multi-Arch") == "same":
            record += f":{known['Architecture']}"
        (folder / f"{record}.list").write_text("".join(_files(package)))
    (folder.parent / "status").write_text("\n".join(paragraphs))


def _said(option: str, package: Path) -> str:
    words = ["dpkg-deb", option, str(package)]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def _files(package: Path) -> Iterable[str]:
    words = ["dpkg-deb", "--fsys-tarfile", str(package)]
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE) as content,
        tarfile.open(fileobj=content.stdout, mode="r|") as members,
    ):
        for one in members:
            yield f"{one.name.removeprefix('.') or '/.'}\n"
