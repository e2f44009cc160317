"""The ways out of a Python process: small programs, and what four layers make of them.

In a program, HOST and PORT are the peer, LIBRARIES is the folder of what was compiled,
and DIAL is a shell command that connects there without Python.
"""

import platform
from typing import Literal, NamedTuple

Seen = Literal["passed", "bypassed"]


class Way(NamedTuple):
    """A way out, and what is expected of each layer."""

    program: str
    wrapper: bool
    """Whether a wrapper around `socket.create_connection` refuses it."""
    pytest_socket: bool
    """Whether pytest-socket (`disable_socket()`) does."""
    guard: bool
    """Whether `EgressGuard` does, enabled for the environment."""
    kernel: Seen
    """What the kernel's evidence says of it, where the guard lets it pass."""


_CTYPES = """
import ctypes, socket, struct
libc = ctypes.CDLL(None)
peer = struct.pack("=HH4s8x", 2, socket.htons(PORT), socket.inet_aton(HOST))
libc.connect(libc.socket(2, 1, 0), peer, 16)
"""
_MULTIPROCESSING = """
import multiprocessing, socket
def dial():
    try:
        socket.create_connection((HOST, PORT), 1)
    except OSError:
        pass
if __name__ == "__main__":
    one = multiprocessing.get_context("{how}").Process(target=dial)
    one.start()
    one.join()
"""
# socket(AF_INET, SOCK_STREAM, 0), connect() to the 16 bytes at the end.
_INSTRUCTIONS = {
    "x86_64": "b829000000bf02000000be0100000031d20f05"
    "89c7b82a000000488d3508000000ba100000000f05c3",
    "aarch64": "c81880d2400080d2210080d2020080d2010000d4"
    "681980d281000010020280d2010000d4c0035fd6",
}
_MACHINE_CODE = f"""
import ctypes, mmap, socket, struct
code = bytes.fromhex({_INSTRUCTIONS[platform.machine()]!r})
code += struct.pack("=HH4s8x", 2, socket.htons(PORT), socket.inet_aton(HOST))
room = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
room.write(code)
where = ctypes.addressof(ctypes.c_char.from_buffer(room))
ctypes.CFUNCTYPE(ctypes.c_long)(where)()
"""

WAYS: dict[str, Way] = {
    "socket.create_connection": Way(
        "import socket; socket.create_connection((HOST, PORT), 1)",
        True, True, True, "passed",
    ),
    "socket.connect": Way(
        "import socket; socket.socket().connect((HOST, PORT))",
        False, True, True, "passed",
    ),
    "socket.connect_ex": Way(
        "import socket; socket.socket().connect_ex((HOST, PORT))",
        False, True, True, "passed",
    ),
    "socket.sendto": Way(
        "import socket\n"
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', (HOST, PORT))",
        False, True, True, "passed",
    ),
    "socket.sendmsg": Way(
        "import socket\n"
        "socket.socket(type=socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, (HOST, PORT))",
        False, True, True, "passed",
    ),
    "_socket": Way(
        "import _socket; _socket.socket(2, 1).connect((HOST, PORT))",
        False, False, True, "passed",
    ),
    "asyncio": Way(
        "import asyncio; asyncio.run(asyncio.open_connection(HOST, PORT))",
        False, True, True, "passed",
    ),
    "uvloop": Way(
        "import asyncio, uvloop; uvloop.run(asyncio.open_connection(HOST, PORT))",
        False, True, False, "bypassed",
    ),
    "gevent": Way(
        "from gevent import monkey; monkey.patch_all()\n"
        "import gevent, socket\n"
        "gevent.spawn(socket.create_connection, (HOST, PORT)).join()",
        False, False, True, "passed",
    ),
    "trio": Way(
        "import trio; trio.run(trio.open_tcp_stream, HOST, PORT)",
        False, True, True, "passed",
    ),
    "urllib": Way(
        "import urllib.request as u; u.urlopen(f'http://{HOST}:{PORT}/', timeout=1)",
        True, True, True, "passed",
    ),
    "requests": Way(
        "import requests; requests.get(f'http://{HOST}:{PORT}/', timeout=1)",
        False, True, True, "passed",
    ),
    "httpx": Way(
        "import httpx; httpx.get(f'http://{HOST}:{PORT}/', timeout=1)",
        True, True, True, "passed",
    ),
    "aiohttp": Way(
        "import aiohttp, asyncio\n"
        "async def main():\n"
        "    async with aiohttp.ClientSession() as session:\n"
        "        await session.get(f'http://{HOST}:{PORT}/')\n"
        "asyncio.run(main())",
        False, True, True, "passed",
    ),
    "a thread": Way(
        "import socket, threading\n"
        "def dial(): socket.socket().connect_ex((HOST, PORT))\n"
        "one = threading.Thread(target=dial)\n"
        "one.start(); one.join()",
        False, True, True, "passed",
    ),
    "a sub-interpreter": Way(
        "import _xxsubinterpreters as interpreters\n"
        "code = f'import _socket; _socket.socket().connect_ex(({HOST!r}, {PORT}))'\n"
        "interpreters.run_string(interpreters.create(), code)",
        False, False, True, "passed",
    ),
    "os.fork": Way(
        "import os, socket\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    try:\n"
        "        socket.socket().connect_ex((HOST, PORT))\n"
        "    finally:\n"
        "        os._exit(0)\n"
        "os.waitpid(child, 0)",
        False, True, True, "passed",
    ),
    "multiprocessing, fork": Way(
        _MULTIPROCESSING.format(how="fork"), True, True, True, "passed"
    ),
    "multiprocessing, spawn": Way(
        _MULTIPROCESSING.format(how="spawn"), False, False, True, "passed"
    ),
    "multiprocessing, forkserver": Way(
        _MULTIPROCESSING.format(how="forkserver"), False, True, True, "passed"
    ),
    "subprocess: Python": Way(
        "import subprocess, sys\n"
        "code = f'import socket; socket.socket().connect_ex(({HOST!r}, {PORT}))'\n"
        "subprocess.run([sys.executable, '-c', code])",
        False, False, True, "passed",
    ),
    "subprocess: another program": Way(
        "import shlex, subprocess; subprocess.run(shlex.split(DIAL))",
        False, False, False, "bypassed",
    ),
    "os.system": Way(
        "import os; os.system(DIAL)", False, False, False, "bypassed"
    ),
    "ctypes": Way(_CTYPES, False, False, False, "bypassed"),
    "cffi": Way(
        "import cffi, socket, struct\n"
        "ffi = cffi.FFI()\n"
        "ffi.cdef('int socket(int, int, int); "
        "int connect(int, const char *, unsigned);')\n"
        "libc = ffi.dlopen(None)\n"
        "peer = struct.pack('=HH4s8x', 2, socket.htons(PORT), socket.inet_aton(HOST))\n"
        "libc.connect(libc.socket(2, 1, 0), peer, 16)",
        False, False, False, "bypassed",
    ),
    "a C extension": Way(
        "import sys; sys.path.insert(0, LIBRARIES)\n"
        "import extension; extension.by_libc(PORT)",
        False, False, False, "bypassed",
    ),
    "a system call of its own": Way(
        "import sys; sys.path.insert(0, LIBRARIES)\n"
        "import extension; extension.by_instruction(PORT)",
        False, False, False, "bypassed",
    ),
    "pycurl": Way(
        "import pycurl\n"
        "one = pycurl.Curl()\n"
        "one.setopt(one.URL, f'http://{HOST}:{PORT}/')\n"
        "one.perform()",
        False, False, False, "bypassed",
    ),
    "grpcio": Way(
        "import grpc\n"
        "channel = grpc.insecure_channel(f'{HOST}:{PORT}')\n"
        "grpc.channel_ready_future(channel).result(timeout=1)",
        False, False, False, "bypassed",
    ),
    "psycopg": Way(
        "import psycopg; psycopg.connect(f'host={HOST} port={PORT} connect_timeout=2')",
        False, False, False, "bypassed",
    ),
    "code in anonymous memory": Way(_MACHINE_CODE, False, False, False, "bypassed"),
    "LD_PRELOAD": Way(
        "import os, subprocess, sys\n"
        "lib = f'{LIBRARIES}/preloaded.so'\n"
        "given = os.environ | {'LD_PRELOAD': lib, 'DIAL_PORT': str(PORT)}\n"
        "subprocess.run([sys.executable, '-c', ''], env=given)",
        False, False, False, "bypassed",
    ),
    "io_uring": Way(
        "import ctypes\n"
        "words = (ctypes.c_char_p * 2)(b'', str(PORT).encode())\n"
        "ctypes.CDLL(f'{LIBRARIES}/uring.so').by_ring(2, words)",
        False, False, False, "bypassed",
    ),
}  # fmt: skip


def table() -> str:
    """Return the table of docs/guard.md."""
    head = (
        "| way out | a wrapper of `create_connection` | pytest-socket | the guard | "
        "the kernel's evidence |\n| --- | --- | --- | --- | --- |\n"
    )
    rows = [
        f"| {name} | {_word(way.wrapper)} | {_word(way.pytest_socket)} "
        f"| {_word(way.guard)} | seen; `{way.kernel}` |\n"
        for name, way in WAYS.items()
    ]
    return head + "".join(rows)


def _word(refused: bool) -> str:  # noqa: FBT001 -- a cell of the table
    return "refused" if refused else "**left**"
