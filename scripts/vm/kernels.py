"""Debian's kernels: find one by version, fetch it once, make it bootable.

Packages come from the machine's own Debian mirror (archive.py).
"""

import fcntl
import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from archive import Archive, ArchiveError, unpack

# Where a series is to be had: (archive, suite). Backports keep only the newest.
_SUITES = {
    "5.10": [("debian-security", "bullseye-security"), ("debian", "bullseye")],
    "6.1": [("debian-security", "bookworm-security"), ("debian", "bookworm")],
    "6.12": [("debian-security", "bookworm-security")],
}
_NEWER = [("debian", "trixie-backports")]
_UNNEEDED = ("sound", "drivers/gpu", "drivers/media", "drivers/net/[ew]*")
# What it takes to mount the root file system.
_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
# The ways in which a kernel's image or module may be packed, by their first bytes.
_PACKERS = {b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"\x02!L\x18": "lz4"}
_KIND = re.compile(r"Depends: (<?)(linux-(?:base|binary|modules|headers|kbuild)-\d\S+)")


def series(version: str) -> str:
    """Return the series of a version or release: 6.1 for 6.1.0-56-amd64."""
    return ".".join(version.split(".")[:2])


def matching(version: str, releases: list[str]) -> list[str]:
    """Return the releases that version is, or begins, oldest first.

    A version matches whole numbers only: 6.1 is no beginning of 6.12.
    """
    found = [one for one in releases if re.match(re.escape(version) + r"(?!\d)", one)]
    return sorted(
        found, key=lambda one: [int(part) for part in re.findall(r"\d+", one)]
    )


class Kernel:
    """A kernel in the cache: its image, its first file system, its modules."""

    def __init__(self, folder: Path) -> None:
        self.release = folder.name
        self.image = folder / "vmlinux"
        self.modules = folder / "modules"  # those that the first file system loads
        self.layer = folder / "layer"  # /lib/modules and /usr/src, as in the packages


def get(version: str, cache: Path) -> Kernel:
    """Return the newest kernel that matches version, fetched into cache at need.

    Raises ArchiveError.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock"):
        have = matching(version, [path.parent.name for path in cache.glob("*/vmlinux")])
        if not have:
            have = [_fetch(version, cache)]
    return Kernel(cache / have[-1])


@contextmanager
def _locked(path: Path) -> Generator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(version: str, cache: Path) -> str:
    with tempfile.TemporaryDirectory(dir=cache) as name:
        work = Path(name)
        apt = Archive(work, _SUITES.get(series(version), _NEWER), "linux-")
        release = _newest(apt, version)
        print(f"vmtest: fetching Linux {release}", flush=True)
        apt.download(_needs(apt, f"linux-image-{release}"))
        # Without headers all but compiling in the guest works.
        apt.download(_needs(apt, f"linux-headers-{release}"))
        folder = work / release
        _unpack(work, folder / "layer")
        _make_bootable(folder, release)
        folder.rename(cache / release)
    return release


def _newest(apt: Archive, version: str) -> str:
    image = re.compile(r"linux-image-([\d.]+(?:-\d+|\+[a-z0-9.]+)-amd64)")
    found = [match[1] for match in map(image.fullmatch, apt.names) if match]
    for release in reversed(matching(version, found)):
        if _needs(apt, f"linux-image-{release}"):
            return release
    known = ", ".join(matching("", found)) or "none"
    raise ArchiveError(f"no kernel {version} in {apt.where}; there are: {known}")


def _needs(apt: Archive, package: str) -> list[str]:
    """Return package with the parts of a kernel that it needs.

    Nothing where one of them is gone from the archive (backports lose theirs).
    """
    if package not in apt.names:
        return []
    depends = _KIND.findall(apt.say("apt-cache", "depends", package))
    # linux-base is an alternative, and no part of the kernel.
    wanted = [one for one in depends if not one[1].startswith("linux-base-")]
    if any(gone for gone, _ in wanted):
        return []
    return [package, *(name for _, name in wanted)]


def _unpack(packages: Path, layer: Path) -> None:
    (layer / "usr/lib").mkdir(parents=True)
    (layer / "lib").symlink_to("usr/lib")  # or it would hide the machine's /lib
    exclude = [f"--exclude=*/kernel/{folder}" for folder in _UNNEEDED]
    unpack(sorted(packages.glob("*.deb")), layer, *exclude)


def _make_bootable(folder: Path, release: str) -> None:
    layer = folder / "layer"
    images = [*layer.glob("boot/vmlinuz-*"), *layer.glob("lib/modules/*/vmlinuz")]
    subprocess.run(["depmod", "-b", layer, release], check=True)
    target = folder / "modules"
    target.mkdir()
    names: list[str] = []
    for module in _modules(layer, release):
        name = module.name.partition(".ko")[0] + ".ko"
        (target / name).write_bytes(unpacked(module.read_bytes()))
        names.append(name)
    (target / "order").write_text("\n".join(names) + "\n")
    # Last: its presence says that the folder is whole.
    (folder / "vmlinux").write_bytes(_elf_in(images[0].read_bytes()))


def _modules(layer: Path, release: str) -> list[Path]:
    done = subprocess.run(
        ["modprobe", "-S", release, "-d", layer, "-a", "--show-depends", *_MODULES],
        stdout=subprocess.PIPE,
        text=True,
        check=False,  # a module that is built in is no module
    )
    found = re.findall(r"^insmod (\S+)", done.stdout, re.MULTILINE)
    return [Path(path) for path in dict.fromkeys(found)]


def unpacked(data: bytes) -> bytes:
    """Return data decompressed by the tool that its first bytes call for."""
    for magic, tool in _PACKERS.items():
        if data.startswith(magic):
            # What follows the packed part makes the tool complain, and no harm.
            return subprocess.run(
                [tool, "-dc"], input=data, capture_output=True, check=False
            ).stdout
    return data


# A bzImage carries the kernel's ELF file, packed. Booted directly (PVH), it saves
# the guest the unpacking: up to 3 s.
def _elf_in(image: bytes) -> bytes:
    magics = b"|".join(re.escape(magic) for magic in _PACKERS)
    for match in re.finditer(magics, image):
        found = unpacked(image[match.start() :])
        if found.startswith(b"\x7fELF"):
            return found
    raise ArchiveError("the kernel's image holds no ELF file")


def need_tools() -> None:
    """Raise ArchiveError where a command that is needed is not found."""
    needed = ("qemu-system-x86_64", "busybox", "depmod", "cpio", "xz", "zstd", "lz4")
    missing = [tool for tool in needed if shutil.which(tool) is None]
    if missing:
        raise ArchiveError(f"not installed: {', '.join(missing)}")
