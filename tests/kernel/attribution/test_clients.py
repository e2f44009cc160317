"""Real clients: each connection names its module, binding, package and route."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.watching import Json, Watched, until_recorded

Watch = Callable[..., Watched]
pytestmark = [pytest.mark.userspace, pytest.mark.processor]
PORT = 8
URL = f"http://127.0.0.1:{PORT}/"


@dataclass(frozen=True)
class Expected:
    """What each connection of a client must say; patterns are of names."""

    caller: str
    binding: str | None
    package: str | None
    route: str
    bypass: bool


# CPython's `_socket` is a file of its own or, in Debian's, built into the program.
SOCKET = Expected(
    r"_socket\..*\.so|python3\.\d+",
    r"_socket\..*\.so|None",
    None,
    "python-socket",
    False,
)

CLIENTS = {
    "socket": (
        f"import socket; socket.create_connection(('127.0.0.1', {PORT}))",
        SOCKET,
    ),
    "datagram": (
        f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b'x', ('127.0.0.1', {PORT}))
""",
        SOCKET,
    ),
    "connected datagram": (
        f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(('127.0.0.1', {PORT}))
s.send(b'x')
""",
        SOCKET,
    ),
    "urllib": (f"import urllib.request as u; u.urlopen('{URL}')", SOCKET),
    "requests": (f"import requests; requests.get('{URL}')", SOCKET),
    "httpx": (f"import httpx; httpx.get('{URL}')", SOCKET),
    "httpx, asynchronous": (
        f"""
import asyncio, httpx
async def main():
    async with httpx.AsyncClient() as client:
        await client.get('{URL}')
asyncio.run(main())
""",
        SOCKET,
    ),
    "aiohttp": (
        f"""
import aiohttp, asyncio
async def main():
    async with aiohttp.ClientSession() as session:
        await session.get('{URL}')
asyncio.run(main())
""",
        SOCKET,
    ),
    "asyncio streams": (
        f"import asyncio; asyncio.run(asyncio.open_connection('127.0.0.1', {PORT}))",
        SOCKET,
    ),
    "trio": (
        f"import trio; trio.run(trio.open_tcp_stream, '127.0.0.1', {PORT})",
        SOCKET,
    ),
    "threads": (
        f"""
import socket, threading
def dial():
    try:
        socket.create_connection(('127.0.0.1', {PORT}))
    except OSError:
        pass
threads = [threading.Thread(target=dial) for _ in range(20)]
for one in threads: one.start()
for one in threads: one.join()
""",
        SOCKET,
    ),
    "500 deep": (
        f"""
import socket
def deep(n):
    if n:
        return deep(n - 1)
    socket.create_connection(('127.0.0.1', {PORT}))
deep(500)
""",
        SOCKET,
    ),
    "gevent": (
        f"""
from gevent import monkey; monkey.patch_all()
import gevent, socket
def dial():
    try:
        socket.create_connection(('127.0.0.1', {PORT}))
    except OSError:
        pass
gevent.joinall([gevent.spawn(dial) for _ in range(3)])
""",
        SOCKET,
    ),
    "uvloop": (
        f"""
import asyncio, uvloop
uvloop.run(asyncio.open_connection('127.0.0.1', {PORT}))
""",
        Expected(r"loop\..*\.so", r"loop\..*\.so", "python uvloop", "native", True),
    ),
    "pycurl": (
        f"import pycurl; c = pycurl.Curl(); c.setopt(c.URL, '{URL}'); c.perform()",
        Expected(r"libcurl.*", r"_?pycurl.*\.so", "python pycurl", "native", True),
    ),
    "grpc": (
        f"""
import grpc
grpc.channel_ready_future(grpc.insecure_channel('127.0.0.1:{PORT}')).result(timeout=1)
""",
        Expected(r"cygrpc.*\.so", r"cygrpc.*\.so", "python grpcio", "native", True),
    ),
    "psycopg": (
        f"import psycopg; psycopg.connect('host=127.0.0.1 port={PORT}')",
        Expected(r"libpq.*", r"pq\..*\.so", "python psycopg-binary", "native", True),
    ),
    "zmq": (
        f"""
import zmq
socket = zmq.Context().socket(zmq.PUSH)
socket.setsockopt(zmq.LINGER, 0)
socket.connect('tcp://127.0.0.1:{PORT}')
""",
        Expected(r"libzmq.*", None, "python pyzmq", "native", True),
    ),
    "confluent-kafka": (
        f"""
from confluent_kafka import Producer
producer = Producer({{'bootstrap.servers': '127.0.0.1:{PORT}'}})
producer.produce('topic', b'x')
producer.flush(1)
""",
        Expected(r"librdkafka.*", None, "python confluent-kafka", "native", True),
    ),
    "primp (Rust)": (
        f"import primp; primp.Client().get('{URL}')",
        Expected(r"primp.*\.so", r"primp.*\.so", "python primp", "native", True),
    ),
    "tls-client (Go)": (
        f"import tls_client; tls_client.Session().get('https://127.0.0.1:{PORT}/')",
        Expected(r"tls-client.*\.so", None, "python tls_client", "native", True),
    ),
    "ctypes": (
        f"""
import ctypes, socket, struct
libc = ctypes.CDLL(None)
peer = struct.pack('=HH4s8x', 2, socket.htons({PORT}), socket.inet_aton('127.0.0.1'))
libc.connect(libc.socket(2, 1, 0), peer, 16)
""",
        Expected(r"libffi.*", r"_ctypes\..*\.so", None, "native", True),
    ),
    "cffi": (
        f"""
import cffi, socket, struct
ffi = cffi.FFI()
ffi.cdef('int socket(int, int, int); int connect(int, const char *, unsigned);')
libc = ffi.dlopen(None)
peer = struct.pack('=HH4s8x', 2, socket.htons({PORT}), socket.inet_aton('127.0.0.1'))
libc.connect(libc.socket(2, 1, 0), peer, 16)
""",
        Expected(r"_cffi_backend.*", r"_cffi_backend.*", "python cffi", "native", True),
    ),
}


def ours(run: Watched, port: int = PORT) -> list[Json]:
    """Return the connections to the client's port."""
    found = [one for one in run.of("connection") if one["dst"]["port"] == port]
    assert found, run.stderr
    return found


def check(record: Json, expected: Expected) -> None:
    """Assert that record says what is expected."""
    module = record["module"]
    assert module is not None, record["module_reason"]
    assert re.fullmatch(expected.caller, name(module["caller"])), module
    if expected.binding is None:
        assert module["binding"] is None, module
    else:
        assert re.fullmatch(expected.binding, name(module["binding"])), module
    if expected.package is not None:
        owners = {
            f"{one['package']['kind']} {one['package']['name']}"
            for one in (module["caller"], module["binding"])
            if one is not None and one["package"] is not None
        }
        assert any(re.fullmatch(expected.package, one) for one in owners), module
    assert record["route"] == expected.route
    assert record["bypass"] is expected.bypass


# The line of a client's code that is behind its connection, by a part of it; in which
# of the stacks. A library's own threads have no Python frames, but somebody started
# them; in which thread Go runs what it is called for is its own affair.
BEHIND: dict[str, tuple[str, str]] = {
    "socket": ("stack", "create_connection"),
    "datagram": ("stack", "s.sendto"),
    "connected datagram": ("stack", "s.connect"),
    "urllib": ("stack", "urlopen"),
    "requests": ("stack", "requests.get"),
    "httpx": ("stack", "httpx.get"),
    "httpx, asynchronous": ("created_by", "await client.get"),
    "aiohttp": ("stack", "await session.get"),
    "asyncio streams": ("stack", "asyncio.run"),
    "trio": ("created_by", "trio.run"),
    "threads": ("stack", "create_connection"),
    "500 deep": ("stack", "create_connection"),
    "gevent": ("stack", "create_connection"),
    "uvloop": ("stack", "uvloop.run"),
    "pycurl": ("stack", "c.perform"),
    "grpc": ("started_by", "grpc."),
    "psycopg": ("stack", "psycopg.connect"),
    "zmq": ("started_by", "zmq.Context"),
    "confluent-kafka": ("started_by", "Producer("),
    "primp (Rust)": ("stack", "primp.Client"),
    "tls-client (Go)": ("any", "tls_client.Session"),
    "ctypes": ("stack", "libc.connect"),
    "cffi": ("stack", "libc.connect"),
}


def check_code(record: Json, client: str, source: str) -> None:
    """Assert that the client's own line is named where it is to be found."""
    code = record["code"]
    assert code is not None, record["code_reason"]
    place, text = BEHIND[client]
    places = ("stack", "started_by") if place == "any" else (place,)
    frames = [one for where in places for one in code[where] or ()]
    own = [one for one in frames if one["file"] == "<string>"]
    lines = source.splitlines()
    assert any(text in lines[one["line"] - 1] for one in own), code


def name(file: Json | None) -> str:
    """Return the name of a module's file."""
    return "None" if file is None else str(file["path"]).rpartition("/")[2]


# It connects in a thread of its own, which ends with the process.
LATER = {"zmq"}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_python_client(
    watched: Watch, python: str, client: str, tmp_path: Path
) -> None:
    code, expected = CLIENTS[client]
    wait = until_recorded(tmp_path, 1) if client in LATER else ""

    run = watched(python, "-c", code + wait)

    for record in ours(run):
        check(record, expected)
        check_code(record, client, code)
    assert run.end["unknown_code"] == 0


def test_an_extension_module(watched: Watch, python: str, extension: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {extension!r}); import extension; "
        f"extension.by_libc({PORT}); extension.by_instruction({PORT + 1})"
    )

    run = watched(python, "-c", code)

    expected = Expected("extension.*", "extension.*", None, "native", True)
    through, without = ours(run)[0], ours(run, PORT + 1)[0]
    check(through, expected)
    check(without, expected)
    assert re.match(r"libc", through["module"]["chain"][0]["file"])
    assert re.match("extension", without["module"]["chain"][0]["file"])


def test_curl(watched: Watch) -> None:
    run = watched("curl", "-s", URL)

    expected = Expected(
        r"libcurl\.so.*", None, "debian libcurl4(t64)?", "native", False
    )
    for record in ours(run):
        check(record, expected)


def test_node(watched: Watch) -> None:
    run = watched("node", "-e", f"require('http').get('http://127.0.0.1:{PORT}')")

    # Node's own, or, where a distribution has it apart, libuv of Node's.
    for record in ours(run):
        assert record["route"] in {"executable", "native"}
        assert re.fullmatch(
            r"(node|libnode|libuv)\b.*", name(record["module"]["caller"])
        )
        assert record["bypass"] is False


def test_a_node_addon(watched: Watch, compiled: Callable[..., str]) -> None:
    addon = compiled("addon", "dialler.node", "-shared", "-fPIC")

    run = watched("env", f"ADDON_PORT={PORT}", "node", "-e", f"require({addon!r})")

    expected = Expected(r"dialler\.node", r"dialler\.node", None, "native", True)
    for record in ours(run):
        check(record, expected)
