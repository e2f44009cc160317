"""Choose the offsets of an interpreter: by its version, or as its file tells them.

From 3.13 on, an interpreter's file describes most of itself (`_Py_DebugOffsets` at the
beginning of `_PyRuntime`). docs/contributing.md says how to add a version.
"""

import struct
from collections.abc import Mapping

from egressmon.attribution.python.offsets import (
    cpython_3_9,
    cpython_3_10,
    cpython_3_11,
    cpython_3_12,
    cpython_3_13,
    cpython_3_14,
    cpython_3_15,
)
from egressmon.attribution.python.offsets.common import DebugOffsets

_COOKIE = b"xdebugpy"
_HEAD = struct.Struct("<QQ")  # behind the cookie: the version, free-threaded or not
DEBUG_OFFSETS_SIZE = 1024

TABLES: Mapping[int, Mapping[str, int]] = {
    9: cpython_3_9.OFFSETS,
    10: cpython_3_10.OFFSETS,
    11: cpython_3_11.OFFSETS,
    12: cpython_3_12.OFFSETS,
}
DEBUG_OFFSETS: Mapping[int, DebugOffsets] = {
    13: cpython_3_13.DEBUG_OFFSETS,
    14: cpython_3_14.DEBUG_OFFSETS,
    15: cpython_3_15.DEBUG_OFFSETS,
}


def read_debug_offsets(data: bytes) -> tuple[int, dict[str, int]] | None:
    """Return the minor version and the offsets that `data`, `_PyRuntime`'s, describes.

    None if it describes none, as before 3.13. The offsets are empty for a version that
    egressmon does not know. Raises ValueError where they are cut short.
    """
    if not data.startswith(_COOKIE):
        return None
    try:
        version, free_threaded = _HEAD.unpack_from(data, len(_COOKIE))
        minor = version >> 16 & 0xFF
        layout = DEBUG_OFFSETS.get(minor)
        if layout is None:
            return minor, {}
        start = len(_COOKIE) + _HEAD.size
        return minor, layout.read(data, start, free_threaded=bool(free_threaded))
    except struct.error as error:
        raise ValueError("the interpreter's debug offsets are cut short") from error
