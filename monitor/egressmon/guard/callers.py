"""Who asks for a destination: the nearest frame outside of libraries."""

import os
import sys
import sysconfig
from types import FrameType

_GUARD = os.path.dirname(os.path.abspath(__file__)) + os.sep  # noqa: PTH100, PTH120 -- pathlib is slow
_STANDARD = tuple(
    f"{path}{os.sep}"
    for path in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    if path
)
_PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_MAX_FRAMES = 500


def caller() -> str | None:
    """Return PATH:LINE in FUNCTION of the nearest frame outside of libraries.

    Where all are in libraries, the nearest outside of the standard library; None if
    there is no Python code but the standard library's.
    """
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] -- quick
    library = None
    for _ in range(_MAX_FRAMES):
        if frame is None:
            break
        path = frame.f_code.co_filename
        if path.startswith(_GUARD):  # which is in site-packages, where it is installed
            pass
        elif any(one in path for one in _PACKAGES):
            library = library or _described(frame)
        elif not _is_standard(path):
            return _described(frame)
        frame = frame.f_back
    return library


def _is_standard(path: str) -> bool:
    if path.startswith("<"):
        # <string> is the program's own text; <frozen ...> is the interpreter's.
        return path.startswith("<frozen ")
    return path.startswith(_STANDARD)


def _described(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"
