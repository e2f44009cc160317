"""The HTTP server's files: an index for pip, a repository for git, and so on."""

import hashlib
import io
import json
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

_CONTROL = """\
Package: demo
Version: 1.0
Architecture: all
Maintainer: Demo <demo@example.test>
Description: nothing
"""


def make(folder: Path) -> None:
    """Fill `folder`, of which each tool reads its part."""
    (folder / "page").write_text("hello\n", encoding="utf-8")
    _for_pip(folder)
    _for_git(folder)
    _for_npm(folder)
    _for_apt(folder)
    _for_cargo(folder)


# A directory listing is a simple index: it has a link for each file.
def _for_pip(folder: Path) -> None:
    index = folder / "simple" / "demo"
    index.mkdir(parents=True)
    account = "demo-1.0.dist-info"
    with zipfile.ZipFile(index / "demo-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("demo.py", "")
        wheel.writestr(f"{account}/METADATA", _METADATA)
        wheel.writestr(f"{account}/WHEEL", _WHEEL)
        wheel.writestr(f"{account}/RECORD", "")


_METADATA = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"
_WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def _for_git(folder: Path) -> None:
    bare = folder / "demo.git"
    by = ("-c", "user.name=demo", "-c", "user.email=demo@example.test")
    work = folder / "work"
    _run("git", "init", "-q", str(work))
    commit = ("commit", "-q", "--allow-empty", "-m", "demo")
    _run("git", "-C", str(work), *by, *commit)
    _run("git", "clone", "-q", "--bare", str(work), str(bare))
    _run("git", "-C", str(bare), "update-server-info")


def _for_npm(folder: Path) -> None:
    package = json.dumps({"name": "demo", "version": "1.0.0"}).encode()
    _archive(folder / "demo-1.0.0.tgz", "package/package.json", package)
    version = {
        "name": "demo",
        "version": "1.0.0",
        "dist": {"tarball": "http://npm/demo-1.0.0.tgz"},
    }
    about = {
        "name": "demo",
        "dist-tags": {"latest": "1.0.0"},
        "versions": {"1.0.0": version},
    }
    (folder / "demo").write_text(json.dumps(about), encoding="utf-8")


def _for_apt(folder: Path) -> None:
    tree, debs = folder / "tree", folder / "debs"
    (tree / "DEBIAN").mkdir(parents=True)
    debs.mkdir()
    (tree / "DEBIAN" / "control").write_text(_CONTROL, encoding="utf-8")
    built = debs / "demo_1.0_all.deb"
    _run("dpkg-deb", "-b", "--root-owner-group", str(tree), str(built))
    content = built.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    index = f"{_CONTROL}Filename: ./{built.name}\nSize: {len(content)}\n"
    index += f"SHA256: {digest}\n"
    (debs / "Packages").write_text(index, encoding="utf-8")


def _for_cargo(folder: Path) -> None:
    index = folder / "index"
    (index / "de" / "mo").mkdir(parents=True)
    crate = folder / "demo-1.0.0.crate"
    manifest = b'[package]\nname = "demo"\nversion = "1.0.0"\n[lib]\npath = "lib.rs"\n'
    _archive(crate, "demo-1.0.0/Cargo.toml", manifest)
    where = {"dl": "http://crates/{crate}-{version}.crate"}
    (index / "config.json").write_text(json.dumps(where), encoding="utf-8")
    version: dict[str, Any] = {
        "name": "demo",
        "vers": "1.0.0",
        "deps": [],
        "features": {},
        "yanked": False,
        "cksum": hashlib.sha256(crate.read_bytes()).hexdigest(),
    }
    entry = index / "de" / "mo" / "demo"
    entry.write_text(json.dumps(version) + "\n", encoding="utf-8")


def _archive(path: Path, name: str, content: bytes) -> None:
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
