"""Debian's kernels: find one by version, fetch it once, make it bootable.

Packages come from the machine's own Debian mirror, through an apt that keeps its
lists and cache in a folder of its own, and checks Debian's signatures.
"""

import fcntl
import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

# Where a series is to be had: (archive, suite). Backports keep only the newest.
_SUITES = {
    "5.10": [("debian-security", "bullseye-security"), ("debian", "bullseye")],
    "6.1": [("debian-security", "bookworm-security"), ("debian", "bookworm")],
    "6.12": [("debian-security", "bookworm-security")],
}
_NEWER = [("debian", "trixie-backports")]
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_UNNEEDED = ("sound", "drivers/gpu", "drivers/media", "drivers/net/[ew]*")
# What it takes to mount the root file system.
_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
# The ways in which a kernel's image or module may be packed, by their first bytes.
_PACKERS = {b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"\x02!L\x18": "lz4"}
_KIND = re.compile(r"Depends: (<?)(linux-(?:base|binary|modules|headers|kbuild)-\d\S+)")


class KernelError(Exception):
    """A kernel cannot be had; the message says why."""


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

    Raises KernelError.
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
        apt = _Apt(work, _SUITES.get(series(version), _NEWER))
        release = _newest(apt, version)
        print(f"vmtest: fetching Linux {release}", flush=True)
        apt.download(apt.needs(f"linux-image-{release}"))
        # Without headers all but compiling in the guest works.
        apt.download(apt.needs(f"linux-headers-{release}"))
        folder = work / release
        _unpack(work, folder / "layer")
        _make_bootable(folder, release)
        folder.rename(cache / release)
    return release


def _newest(apt: "_Apt", version: str) -> str:
    image = re.compile(r"linux-image-([\d.]+(?:-\d+|\+[a-z0-9.]+)-amd64)")
    found = [match[1] for match in map(image.fullmatch, apt.names) if match]
    for release in reversed(matching(version, found)):
        if apt.needs(f"linux-image-{release}"):
            return release
    known = ", ".join(matching("", found)) or "none"
    raise KernelError(f"no kernel {version} in {apt.where}; there are: {known}")


class _Apt:
    """apt with lists and a cache of its own."""

    def __init__(self, work: Path, suites: list[tuple[str, str]]) -> None:
        self.where = ", ".join(suite for _, suite in suites)
        self._work = work
        (work / "archives/partial").mkdir(parents=True)
        mirror = _mirror()
        (work / "sources.list").write_text(
            "".join(
                f"deb [signed-by={_KEYRING}] {mirror}/{archive} {suite} main\n"
                for archive, suite in suites
            )
        )
        self._say("apt-get", "update")
        self.names = set(self._say("apt-cache", "pkgnames", "linux-").split())

    def _say(self, tool: str, *arguments: str) -> str:
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
            raise KernelError(f"{tool} {arguments[0]} failed")
        return done.stdout

    def needs(self, package: str) -> list[str]:
        """Return package with the parts of a kernel that it needs, or nothing
        where one of them is gone from the archive (backports lose theirs)."""
        if package not in self.names:
            return []
        depends = _KIND.findall(self._say("apt-cache", "depends", package))
        # linux-base is an alternative, and no part of the kernel.
        wanted = [one for one in depends if not one[1].startswith("linux-base-")]
        if any(gone for gone, _ in wanted):
            return []
        return [package, *(name for _, name in wanted)]

    def download(self, packages: list[str]) -> None:
        """Fetch packages into the working folder."""
        if packages:
            self._say("apt-get", "download", *packages)


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
    raise KernelError("apt has no Debian mirror (deb .../debian in sources.list)")


def _unpack(packages: Path, layer: Path) -> None:
    (layer / "usr/lib").mkdir(parents=True)
    (layer / "lib").symlink_to("usr/lib")  # or it would hide the machine's /lib
    exclude = [f"--exclude=*/kernel/{folder}" for folder in _UNNEEDED]
    for package in sorted(packages.glob("*.deb")):
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE
        ) as archive:
            subprocess.run(
                ["tar", "-x", "-C", layer, "--keep-directory-symlink", *exclude],
                stdin=archive.stdout,
                check=True,
            )


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
    raise KernelError("the kernel's image holds no ELF file")


def need_tools() -> None:
    """Raise KernelError where a command that is needed is not found."""
    needed = ("qemu-system-x86_64", "busybox", "depmod", "cpio", "xz", "zstd", "lz4")
    missing = [tool for tool in needed if shutil.which(tool) is None]
    if missing:
        raise KernelError(f"not installed: {', '.join(missing)}")
