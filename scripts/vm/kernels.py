"""Find one of Debian's kernels by version, fetch it once, and make it bootable.

Packages come from the machine's own Debian mirror (archive.py).
"""

import gzip
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from architectures import X86, Architecture
from archive import Archive, ArchiveError, unpack
from kept import locked

_UNNEEDED = ("sound", "drivers/gpu", "drivers/media", "drivers/net/[ew]*")
# The modules that are needed to mount the root file system.
_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
# The tools that unpack a kernel's image or module, by its first bytes.
_PACKERS = {b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"\x02!L\x18": "lz4"}
_GZIP = b"\x1f\x8b"
_ARM64 = b"ARM\x64"  # at byte 56: Documentation/arch/arm64/booting.rst
_KIND = re.compile(r"Depends: (<?)(linux-(?:base|binary|modules|headers|kbuild)-\d\S+)")


def series(version: str) -> str:
    """Return the series of a version or release: 6.1 for 6.1.0-56-amd64."""
    return ".".join(version.split(".")[:2])


def matching(version: str, releases: list[str]) -> list[str]:
    """Return the releases that begin with `version`, oldest first.

    Only whole numbers count: 6.1 does not match 6.12.
    """
    found = [one for one in releases if re.match(re.escape(version) + r"(?!\d)", one)]
    return sorted(
        found, key=lambda one: [int(part) for part in re.findall(r"\d+", one)]
    )


class Kernel:
    """A kernel in the cache, and its files in `folder`."""

    def __init__(self, folder: Path, architecture: Architecture = X86) -> None:
        self.release = folder.name
        self.architecture = architecture
        self.image = folder / "vmlinux"
        self.modules = folder / "modules"  # those that the initramfs loads
        self.layer = folder / "layer"  # /lib/modules and /usr/src, as in the packages


def get(version: str, cache: Path, architecture: Architecture = X86) -> Kernel:
    """Return the newest kernel that matches `version`; raises ArchiveError.

    It is fetched into `cache` if none there matches.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "lock"):
        kept = [path.parent.name for path in cache.glob("*/vmlinux")]
        have = matching(version, [one for one in kept if _is_of(one, architecture)])
        if not have:
            have = [_fetch(version, cache, architecture)]
    return Kernel(cache / have[-1], architecture)


def _is_of(release: str, architecture: Architecture) -> bool:
    return bool(re.fullmatch(rf"[^-]+(-\d+)?-{architecture.flavour}", release))


def _fetch(version: str, cache: Path, architecture: Architecture) -> str:
    with tempfile.TemporaryDirectory(dir=cache) as name:
        work = Path(name)
        suites = architecture.series.get(series(version), architecture.newer)
        apt = Archive(work, suites, "linux-", architecture=architecture.name)
        release = _newest(apt, version, architecture.flavour)
        print(f"vmtest: fetching Linux {release}", file=sys.stderr, flush=True)
        apt.download(_needs(apt, f"linux-image-{release}"))
        # May be none: without headers, all works but compiling in the guest.
        apt.download(_needs(apt, f"linux-headers-{release}"))
        folder = work / release
        _unpack(work, folder / "layer")
        _make_bootable(folder, release)
        folder.rename(cache / release)
    return release


def _newest(apt: Archive, version: str, flavour: str) -> str:
    image = re.compile(rf"linux-image-([\d.]+(?:-\d+|\+[a-z0-9.]+)-{flavour})")
    found = [match[1] for match in map(image.fullmatch, apt.names) if match]
    for release in reversed(matching(version, found)):
        if _needs(apt, f"linux-image-{release}"):
            return release
    known = ", ".join(matching("", found)) or "none"
    raise ArchiveError(f"no kernel {version} in {apt.where}; there are: {known}")


def _needs(apt: Archive, package: str) -> list[str]:
    """Return `package` and those packages of the kernel that it depends on.

    An empty list if the archive lacks one of them: backports remove old ones.
    """
    if package not in apt.names:
        return []
    depends = _KIND.findall(apt.say("apt-cache", "depends", package))
    # linux-base-VERSION is one of two alternatives, and not part of the kernel.
    wanted = [one for one in depends if not one[1].startswith("linux-base-")]
    if any(gone for gone, _ in wanted):
        return []
    return [package, *(name for _, name in wanted)]


def _unpack(packages: Path, layer: Path) -> None:
    (layer / "usr/lib").mkdir(parents=True)
    (layer / "lib").symlink_to("usr/lib")  # a folder here would hide the host's /lib
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
    # Written last: get() takes a folder with it as complete.
    (folder / "vmlinux").write_bytes(bootable(images[0].read_bytes()))


def _modules(layer: Path, release: str) -> list[Path]:
    done = subprocess.run(
        ["modprobe", "-S", release, "-d", layer, "-a", "--show-depends", *_MODULES],
        stdout=subprocess.PIPE,
        text=True,
        check=False,  # it fails for modules that are built into the kernel
    )
    found = re.findall(r"^insmod (\S+)", done.stdout, re.MULTILINE)
    return [Path(path) for path in dict.fromkeys(found)]


def unpacked(data: bytes) -> bytes:
    """Return `data` decompressed, by the tool for its first bytes, or as it is."""
    for magic, tool in _PACKERS.items():
        if data.startswith(magic):
            # The tool fails because of the bytes that follow, but the output is whole.
            return subprocess.run(
                [tool, "-dc"], input=data, capture_output=True, check=False
            ).stdout
    return data


def bootable(image: bytes) -> bytes:
    """Return what QEMU boots of a kernel's image; raises ArchiveError.

    arm64's is the kernel itself, compressed as a whole or not at all. x86's contains an
    ELF file, compressed: booting that directly (PVH) saves up to 3 s of decompressing.
    """
    if image.startswith(_GZIP):
        image = gzip.decompress(image)
    if image[56:60] == _ARM64:
        return image
    magics = b"|".join(re.escape(magic) for magic in _PACKERS)
    for match in re.finditer(magics, image):
        found = unpacked(image[match.start() :])
        if found.startswith(b"\x7fELF"):
            return found
    raise ArchiveError("the kernel's image holds no ELF file")


def need_tools(architecture: Architecture = X86) -> None:
    """Raise ArchiveError if a command that is needed is not installed."""
    emulator = architecture.emulator[0]
    needed = (emulator, "busybox", "depmod", "cpio", "xz", "zstd", "lz4")
    missing = [tool for tool in needed if shutil.which(tool) is None]
    if missing:
        raise ArchiveError(f"not installed: {', '.join(missing)}")
