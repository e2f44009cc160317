"""What of an attribution the watched command could have made up, and why."""

from dataclasses import replace

from egressmon.attribution.native.owners import ImageGround
from egressmon.attribution.native.unwinding.images import Images
from egressmon.attribution.result import Attribution, Ground
from egressmon.events.model import Stack
from egressmon.evidence.code_records import ClaimRecord
from egressmon.files.beginning import Beginning

_MAX_VIEWS = 1 << 16
_NO_VIEW = 0, 0


class Views:
    """The mount and user namespaces in which each process made its last full call.

    A call at a recognised call site comes without a stack: its modules, and so the
    view of their files, are those of the earlier call that was copied in full.
    """

    def __init__(self) -> None:
        self._views: dict[int, tuple[int, int]] = {}

    def on_stack(self, stack: Stack) -> tuple[int, int]:
        """Return the namespaces, as inode numbers, that `stack`'s files are seen in."""
        if stack.status == "known":
            return self._views.get(stack.pid, _NO_VIEW)
        if len(self._views) >= _MAX_VIEWS:
            self._views.clear()
        self._views[stack.pid] = view = stack.mounts, stack.users
        return view

    def on_exit(self, pid: int) -> None:
        """Forget the view of process `pid`."""
        self._views.pop(pid, None)


class Claims:
    """Marks what of each attribution is only a claim of the command's."""

    def __init__(self, beginning: Beginning, images: Images) -> None:
        """`beginning` is the moment before the run: what is older is no claim."""
        self._beginning = beginning
        self._images = images
        self._views = Views()

    # As of each call: what is behind it may have changed since the last one.
    def mark(self, found: Attribution, stack: Stack) -> Attribution:
        """Return `found`, of the call behind `stack`, with its claims as of now."""
        namespaces = self._views.on_stack(stack)
        if not found.grounds:
            return found
        view = self._beginning.why_view(*namespaces)
        claims: list[ClaimRecord] = []
        for ground in found.grounds:
            if why := view or self._why_claimed(ground):
                claims.append(ClaimRecord(ground.field, why))
            if ground.package_claimed is not None:
                field = f"{ground.field}.package"
                claims.append(ClaimRecord(field, ground.package_claimed))
        return replace(found, claimed=tuple(claims)) if claims else found

    def on_exit(self, pid: int) -> None:
        """Forget process `pid`, which has ended."""
        self._views.on_exit(pid)

    def _why_claimed(self, ground: Ground) -> str | None:
        if ground.path is None:
            return "its code is in no file"
        if not isinstance(ground, ImageGround) or ground.image is None:
            return "its file is not the one that has that name, or cannot be read"
        return self._images.why_claimed(ground.image)
