"""Offsets of CPython 3.10, from the headers of 3.10.13: 3.9's, but for f_lasti."""

from collections.abc import Mapping

from egressmon.attribution.python.offsets import cpython_3_9
from egressmon.attribution.python.offsets.common import UNITS

OFFSETS: Mapping[str, int] = {
    **cpython_3_9.OFFSETS,
    "frame_instruction": 96,
    "instruction_kind": UNITS,
}
