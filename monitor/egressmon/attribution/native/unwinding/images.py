"""The files behind mappings: opened, checked to be the ones mapped, and kept open."""

from collections import OrderedDict
from functools import cached_property

from egressmon.attribution.native.memory.mappings import Mapping
from egressmon.attribution.native.unwinding.cfi import FrameTable
from egressmon.files.beginning import CHANGED, NEW_MOUNT, OTHER_ROOT, Beginning
from egressmon.files.bounded import open_regular
from egressmon.files.elf import Elf, ElfError
from egressmon.files.roots import root_of
from egressmon.probes.architecture import Architecture
from egressmon.text import from_bytes
from egressmon.values import dataclass

_MAX_OPEN = 256
_NEEDED = 1  # DT_NEEDED (System V gABI, "Dynamic Section")
_DELETED = b" (deleted)"
_TWO_DEVICES = "its file system has two device numbers: which file it is, is not known"


class Image:
    """The file of one program or library, with its unwind tables."""

    def __init__(
        self, elf: Elf, path: str, root: str, why_claimed: str | None = None
    ) -> None:
        self.elf = elf
        self.path = path
        self.root = root
        """The root folder that `path` is in: empty for the agent's own."""
        self.why_claimed = why_claimed
        """Why the command may have made the file up; None if it cannot have."""
        self.frames = FrameTable(elf)

    def defines(self, symbol: str) -> bool:
        """Tell whether the file exports `symbol`; no if the file is damaged."""
        try:
            return self.elf.symbol(symbol) is not None
        except (ElfError, ArithmeticError, ValueError):
            return False

    @cached_property
    def is_python(self) -> bool:
        """Whether a CPython interpreter is in it."""
        return self.defines("PyRun_SimpleFileExFlags")

    @cached_property
    def is_node(self) -> bool:
        """Whether Node.js is in it, by a symbol that addons link against."""
        return self.defines("napi_module_register")

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """The libraries that it is linked with, by the names that it asks for."""
        try:
            return tuple(self.elf.strings(_NEEDED))
        except (ElfError, ArithmeticError, ValueError):
            return ()

    @cached_property
    def is_go(self) -> bool:
        """Whether Go's own linker wrote it: its code keeps frame pointers."""
        try:
            return self.elf.section(b".note.go.buildid") is not None
        except (ElfError, ArithmeticError, ValueError):
            return False

    @cached_property
    def has_socket_module(self) -> bool:
        """Whether CPython's `_socket` is built in."""
        return self.is_python and self.defines("PyInit__socket")

    @cached_property
    def has_ctypes_module(self) -> bool:
        """Whether CPython's `_ctypes`, which calls anything, is built in."""
        return self.is_python and self.defines("PyInit__ctypes")


@dataclass(frozen=True, slots=True)
class Missing:
    """Stands for an image whose file cannot be used, for a `reason`."""

    reason: str


class Images:
    """A bounded number of images; the least recently used is closed first."""

    def __init__(
        self, architecture: Architecture | None, beginning: Beginning | None = None
    ) -> None:
        """`architecture` is that of the machine on which the files were mapped.

        `beginning` is the moment before the run, by default now.
        """
        self._known: OrderedDict[tuple[bytes, int, int], Image] = OrderedDict()
        self._held: set[tuple[bytes, int, int]] = set()
        """Those of them that keep a mount of the command's own busy."""
        self._beginning = beginning or Beginning()
        self._machine = architecture.elf if architecture is not None else 0

    def of(self, mapping: Mapping, pid: int) -> Image | Missing:
        """Return the image of `mapping` in process `pid`, which may have ended."""
        key = mapping.path, mapping.device, mapping.inode
        known = self._known.get(key)
        # One that was had in another root is looked for in ours, where it is ours.
        if known is not None and not (known.root and not root_of(pid)):
            self._known.move_to_end(key)
            return known
        # A file that cannot be had is asked for again: another process may show it.
        found = self._open(mapping, pid)
        if isinstance(found, Image):
            if known is not None:
                known.elf.close()
            self._known[key] = found
            if found.why_claimed == NEW_MOUNT:
                self._held.add(key)
            if len(self._known) > _MAX_OPEN:
                _, old = self._known.popitem(last=False)
                old.elf.close()
        return found

    def why_claimed(self, image: Image) -> str | None:
        """Return why the command may have made `image` up by now; None if it cannot.

        A mapped file can still be written to, which changes the code that runs.
        """
        if image.why_claimed is None:
            status = image.elf.current_status()
            if status is None or not self._beginning.is_older(status):
                image.why_claimed = CHANGED
        return image.why_claimed

    def release(self) -> None:
        """Close the files that are on mounts of the command's own.

        It may want to unmount them: umount(2) fails as long as one is open.
        """
        while self._held:
            image = self._known.pop(self._held.pop(), None)
            if image is not None:
                image.elf.close()

    def close(self) -> None:
        """Close all files."""
        for image in self._known.values():
            image.elf.close()
        self._known.clear()

    def _open(self, mapping: Mapping, pid: int) -> Image | Missing:
        if mapping.is_unbacked or not mapping.path.startswith(b"/"):
            return Missing("code in no file")
        why = Missing("the file is gone")
        for root in _roots(pid):
            try:
                image = self._try(root, mapping)
            except OSError as error:
                why = Missing(f"the file cannot be read ({error.strerror})")
                continue
            except (ElfError, ArithmeticError, ValueError) as error:
                why = Missing(f"the file is damaged ({error})")
                continue
            if image is not None:
                return image
            why = Missing("the file was replaced since it was mapped")
        return why

    def _try(self, root: str, mapping: Mapping) -> Image | None:
        candidate = root.encode() + mapping.path.removesuffix(_DELETED)
        elf = Elf(open_regular(candidate))
        if elf.machine != self._machine:
            elf.close()
            raise ElfError("of another architecture")
        try:
            same, why = self._compare(elf, mapping)
        except BaseException:
            elf.close()
            raise
        if not same:
            elf.close()
            return None
        if root:
            why = OTHER_ROOT
        return Image(elf, from_bytes(mapping.path), root, why)

    # Device and inode decide, as the kernel told them at the mapping. A build id does
    # not: it can be copied.
    def _compare(self, elf: Elf, mapping: Mapping) -> tuple[bool, str | None]:
        status = elf.status
        if status.st_ino != mapping.inode:
            return False, None
        why = elf.ask(self._beginning.why_claimed)
        if status.st_dev == mapping.device:
            return True, why
        # On overlayfs and btrfs the kernel tells of another device than stat(2) does.
        # What was mapped by the command under a name in our own view has that name;
        # what a look into /proc found later may be of any view.
        if not elf.ask(self._beginning.has_two_devices):
            return False, None
        return True, why or (None if mapping.since_ns else _TWO_DEVICES)


# What the process sees under a name first: it may have a root of its own. One that is
# gone cannot be asked; then device and inode say whether ours is the same file.
def _roots(pid: int) -> tuple[str, ...]:
    theirs = root_of(pid)
    return (theirs, "") if theirs else ("",)
