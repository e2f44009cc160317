"""A program that compiles and loads the probes with BCC, and sends their descriptors.

It runs under the interpreter for which BCC's module is installed (Debian's, while the
agent is in a virtual environment), and keeps the compiler's 200 MB and its messages out
of the agent. It imports only the standard library and BCC.

Standard input is the job, as JSON. The answer goes to the socket whose descriptor is
argv[1]: JSON, with the descriptors of the programs and then of the maps, in the job's
order. Messages of the compiler and the verifier go to standard error.
"""

import ctypes
import importlib
import json
import socket
import sys
from pathlib import Path
from typing import Any

NO_BCC = 3
NOT_BCC = 4
NOT_COMPILED = 5
REFUSED = 6
_LOAD_IMM64 = 0x18
_PSEUDO_MAP_FD = 1


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint8),
        ("registers", ctypes.c_uint8),
        ("offset", ctypes.c_int16),
        ("immediate", ctypes.c_int32),
    )


def main() -> int:
    """Do the job on standard input and return the exit status."""
    try:
        bcc: Any = importlib.import_module("bcc")
    except ImportError:
        return NO_BCC
    if not bcc.__file__:
        return NO_BCC  # a folder called bcc without an __init__.py
    if not hasattr(bcc, "BPF"):
        return NOT_BCC
    job = json.load(sys.stdin)
    # BCC raises bare Exceptions, after it printed what was wrong.
    try:
        module = bcc.BPF(text=Path(job["source"]).read_bytes(), cflags=job["flags"])
    except Exception as error:  # noqa: BLE001 -- as above
        return _failed(NOT_COMPILED, error)
    try:
        table = bcc.lib.bpf_table_fd
        maps = [table(module.module, name.encode()) for name in job["maps"]]
        _put_maps(bcc.lib, module, dict(zip(job["maps"].values(), maps)))  # noqa: B905 -- 3.9
        programs = [_load(module, *program) for program in job["programs"]]
    except Exception as error:  # noqa: BLE001 -- as above
        return _failed(REFUSED, error)
    answer = json.dumps({"version": bcc.__version__}).encode()
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        socket.send_fds(channel, [answer], [*programs, *maps])
    return 0


def _failed(status: int, error: Exception) -> int:
    sys.stderr.write(f"{error}\n")
    return status


# Replace each map's number in the programs by its descriptor (see portable.bpf.h).
def _put_maps(library: Any, module: Any, places: dict[int, int]) -> None:
    for number in range(library.bpf_num_functions(module.module)):
        name = library.bpf_function_name(module.module, number)
        start = library.bpf_function_start(module.module, name)
        size = library.bpf_function_size(module.module, name)
        count = size // ctypes.sizeof(_Instruction)
        for instruction in (_Instruction * count).from_address(start):
            if (
                instruction.code == _LOAD_IMM64
                and instruction.registers >> 4 == _PSEUDO_MAP_FD
                and instruction.immediate in places
            ):
                instruction.immediate = places[instruction.immediate]


def _load(module: Any, name: str, program_type: int, attach_type: Any) -> int:
    attach = -1 if attach_type is None else attach_type
    function = module.load_func(name.encode(), program_type, attach_type=attach)
    descriptor: int = function.fd
    return descriptor


if __name__ == "__main__":
    sys.exit(main())
