"""Compile the probes with BCC, have the kernel take them, hand them over, end.

Runs by itself, under whichever interpreter BCC's module is installed for
(Debian's own, where the agent is in a virtual environment), so that the compiler's
200 MB and its messages stay out of the agent. Standard library and BCC only.

Standard input is the job, as JSON; the answer goes to the socket that argv[1]
numbers: JSON, with the descriptors of the programs and maps, in the job's order.
What the compiler and the verifier say goes to standard error.
"""

import ctypes
import json
import socket
import sys

NO_BCC = 3
NOT_BCC = 4
NOT_COMPILED = 5
REFUSED = 6
_LOAD_IMM64 = 0x18
_PSEUDO_MAP_FD = 1


class _Instruction(ctypes.Structure):
    _fields_ = [  # noqa: RUF012 -- as ctypes wants it
        ("code", ctypes.c_uint8),
        ("registers", ctypes.c_uint8),
        ("offset", ctypes.c_int16),
        ("immediate", ctypes.c_int32),
    ]


def main() -> int:
    try:
        import bcc  # type: ignore[import-not-found]
    except ImportError as error:
        print(error, file=sys.stderr)
        return NO_BCC
    if not hasattr(bcc, "BPF"):
        return NOT_BCC
    job = json.load(sys.stdin)
    with open(job["source"]) as file:
        text = file.read()
    try:
        module = bcc.BPF(text=text, cflags=job["flags"])
    except Exception as error:  # BCC raises nothing more particular
        print(error, file=sys.stderr)
        return NOT_COMPILED
    try:
        maps = {
            name: bcc.lib.bpf_table_fd(module.module, name.encode())
            for name in job["maps"]
        }
        places = {number: maps[name] for name, number in job["maps"].items()}
        programs = [_load(bcc.lib, module, places, *one) for one in job["programs"]]
    except Exception as error:
        print(error, file=sys.stderr)
        return REFUSED
    answer = json.dumps({"version": bcc.__version__}).encode()
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        socket.send_fds(channel, [answer], [*programs, *maps.values()])
    return 0


# The kernel's descriptor of one program, its map numbers replaced by the maps'.
def _load(lib, module, places, name, program_type, attach_type):
    encoded = name.encode()
    start = lib.bpf_function_start(module.module, encoded)
    if not start:
        raise LookupError("BCC made no program " + name)
    count = lib.bpf_function_size(module.module, encoded) // 8
    for instruction in (_Instruction * count).from_address(start):
        if (
            instruction.code == _LOAD_IMM64
            and instruction.registers >> 4 == _PSEUDO_MAP_FD
            and instruction.immediate in places
        ):
            instruction.immediate = places[instruction.immediate]
    attach = -1 if attach_type is None else attach_type
    return module.load_func(encoded, program_type, attach_type=attach).fd


if __name__ == "__main__":
    sys.exit(main())
