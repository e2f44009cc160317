"""Connect by several ways, marked as guarded from the second on: guarded.py SERVER PORT PROGRAM.

Each way goes to a port of its own, from PORT on. PROGRAM is `leave`.
"""

import ctypes
import mmap
import os
import socket
import struct
import subprocess
import sys

SERVER, PORT, PROGRAM = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def by_socket(port: int) -> None:
    """Connect as Python does."""
    with socket.socket() as one:
        one.connect_ex((SERVER, port))


def by_ctypes(port: int) -> None:
    """Connect by libc, which no audit hook sees."""
    libc = ctypes.CDLL(None)
    address = socket.inet_aton(SERVER)
    peer = struct.pack("=HH4s8x", socket.AF_INET, socket.htons(port), address)
    libc.connect(libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0), peer, 16)


def wrapped(port: int) -> None:
    """Stand for a guard of somebody else's."""
    by_socket(port)


def mark() -> mmap.mmap:
    """Say that there is a guard, as egressmon.guard does."""
    descriptor = os.memfd_create("egressmon-guard:1", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, mmap.PAGESIZE)
    protection = mmap.PROT_READ | mmap.PROT_EXEC
    made = mmap.mmap(descriptor, mmap.PAGESIZE, mmap.MAP_PRIVATE, protection)
    os.close(descriptor)
    return made


by_socket(PORT)
kept = mark()
by_socket(PORT + 1)
by_ctypes(PORT + 2)
child = os.fork()
if not child:
    by_socket(PORT + 3)
    by_ctypes(PORT + 4)
    os._exit(0)
os.waitpid(child, 0)
subprocess.run([PROGRAM, str(PORT + 5)], check=False)
wrapped(PORT + 6)
