"""What chains of calls mean: caller, binding, route and bypass."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import pytest

from egressmon.attribution.native.chain import Calls, read_calls
from egressmon.attribution.native.memory.mappings import AddressSpace, Mapping
from egressmon.attribution.native.unwinding.images import Image, Images
from egressmon.attribution.native.unwinding.walk import Frame, Unwound

SITE = "/venv/lib/python3.11/site-packages"
LIBC = "/usr/lib/libc.so.6"
PYTHON = "/usr/bin/python3.11"
HOME_PYTHON = "/home/me/.pyenv/versions/3.11.7/bin/python3.11"
LIBPYTHON = "/usr/lib/libpython3.11.so.1.0"
SOCKET = "/usr/lib/python3.11/lib-dynload/_socket.cpython-311-x86_64-linux-gnu.so"
CTYPES = "/usr/lib/python3.11/lib-dynload/_ctypes.cpython-311-x86_64-linux-gnu.so"
NODE = "/usr/bin/node"


class File(Image):
    """A file by what it exports and needs (lib...), without the file."""

    def __init__(self, symbols: frozenset[str]) -> None:
        self._symbols = symbols

    def defines(self, symbol: str) -> bool:
        return symbol in self._symbols

    @cached_property
    def needs(self) -> tuple[str, ...]:
        return tuple(one for one in self._symbols if one.startswith("lib"))


@dataclass
class Files:
    """Which path exports what."""

    exports: dict[str, frozenset[str]] = field(
        default_factory=dict[str, frozenset[str]]
    )

    def of(self, mapping: Mapping, pid: int) -> Image:
        assert pid == 7
        return File(self.exports.get(mapping.path.decode(), frozenset()))


RUNTIME = "PyRun_SimpleFileExFlags"
STATIC = {PYTHON: frozenset({RUNTIME, "PyInit__socket"})}
BOTH = {PYTHON: frozenset({RUNTIME, "PyInit__socket", "PyInit__ctypes"})}
SHARED = {LIBPYTHON: frozenset({RUNTIME})}
LIBNODE = "/usr/lib/x86_64-linux-gnu/libnode.so.108"
LIBUV = "/usr/lib/x86_64-linux-gnu/libuv.so.1.0.0"
ADDON = "/app/node_modules/x/y.node"
APART = {LIBNODE: frozenset({"napi_module_register", "libuv.so.1", "libcares.so.2"})}
SERVER_SYMBOLS = frozenset({"napi_module_register"})
SERVER = {NODE: SERVER_SYMBOLS}


def read(
    program: str,
    *paths: str,
    exports: dict[str, frozenset[str]] | None = None,
    stopped: str | None = None,
    others: tuple[str, ...] = (),
) -> Calls:
    """Return what a chain of calls through paths means in a process of program.

    The process has mapped others, too. The chain ends early if it stopped.
    """
    space = AddressSpace()
    mappings: dict[str, Mapping] = {}
    for number, path in enumerate(dict.fromkeys((program, *paths, *others))):
        start = (number + 1) << 20
        mappings[path] = Mapping(start, start + 4096, 0, path.encode(), 1, 1, 0)
        space.add(mappings[path])
    frames = [
        Frame(mappings[path].start, mappings[path], "cfi", None) for path in paths
    ]
    files = cast("Images", Files(exports or {}))
    return read_calls(Unwound(frames, stopped), space, files, 7)


def names(calls: Calls) -> tuple[str, str | None]:
    assert calls.caller is not None
    return calls.caller.name, calls.binding.name if calls.binding else None


@pytest.mark.parametrize(
    ("program", "chain", "exports", "caller", "binding", "route", "bypass"),
    [
        (PYTHON, (LIBC, PYTHON), STATIC, "python3.11", None, "python-socket", False),
        (
            "/usr/bin/tool",
            (LIBC, SOCKET, LIBPYTHON),
            SHARED,
            SOCKET.rpartition("/")[2],
            SOCKET.rpartition("/")[2],
            "python-socket",
            False,
        ),
        # A package's module of that name, and a folder that only looks like Python's.
        (
            PYTHON,
            (LIBC, f"{SITE}/_socket.cpython-311-x86_64-linux-gnu.so", PYTHON),
            STATIC,
            "_socket.cpython-311-x86_64-linux-gnu.so",
            "_socket.cpython-311-x86_64-linux-gnu.so",
            "native",
            True,
        ),
        (
            PYTHON,
            (LIBC, SOCKET.replace("/usr", "/home/me"), PYTHON),
            STATIC,
            SOCKET.rpartition("/")[2],
            SOCKET.rpartition("/")[2],
            "native",
            True,
        ),
        (
            PYTHON,
            (LIBC, "/usr/lib/libffi.so.8", CTYPES, PYTHON),
            STATIC,
            "libffi.so.8",
            CTYPES.rpartition("/")[2],
            "native",
            True,
        ),
        # A package's file may be called like the C library; it is none.
        (
            PYTHON,
            (LIBC, f"{SITE}/evil/libc.so.6", PYTHON),
            STATIC,
            "libc.so.6",
            None,
            "native",
            True,
        ),
        (
            PYTHON,
            (LIBC, "/tmp/libnss_evil.so", PYTHON),  # noqa: S108 -- a name
            STATIC,
            "libnss_evil.so",
            None,
            "native",
            True,
        ),
        # Another's _socket, above the interpreter's own installation.
        (
            HOME_PYTHON,
            (LIBC, SOCKET.replace("/usr", "/home/me"), HOME_PYTHON),
            {HOME_PYTHON: STATIC[PYTHON]},
            SOCKET.rpartition("/")[2],
            SOCKET.rpartition("/")[2],
            "native",
            True,
        ),
        # Anybody's library can have an interpreter's symbols.
        (
            PYTHON,
            (LIBC, "/opt/evil.so", PYTHON),
            {**STATIC, "/opt/evil.so": STATIC[PYTHON]},
            "evil.so",
            None,
            "native",
            True,
        ),
        (PYTHON, (LIBC, "//anon", PYTHON), STATIC, "", None, "unbacked", True),
        # The binding is what the language called, not what called the language.
        (
            PYTHON,
            (LIBC, PYTHON, "/usr/lib/_asyncio.cpython-311.so", PYTHON),
            STATIC,
            "python3.11",
            None,
            "python-socket",
            False,
        ),
        (
            PYTHON,
            (LIBC, PYTHON),
            BOTH,
            "python3.11",
            None,
            "unknown",
            None,
        ),
        (
            NODE,
            (LIBC, NODE),
            SERVER,
            "node",
            None,
            "executable",
            False,
        ),
        (
            NODE,
            (LIBC, "/app/node_modules/x/y.node", NODE),
            SERVER,
            "y.node",
            "y.node",
            "native",
            True,
        ),
        (
            "/bin/curl",
            (LIBC, "/lib/libcurl.so.4", "/bin/curl"),
            {},
            "libcurl.so.4",
            None,
            "native",
            False,
        ),
        ("/bin/tool", ("/bin/tool",), {}, "tool", None, "executable", False),
    ],
)
def test_a_chain(  # noqa: PLR0913, PLR0917 -- a table
    program: str,
    chain: tuple[str, ...],
    exports: dict[str, frozenset[str]],
    caller: str,
    binding: str | None,
    route: str,
    bypass: bool | None,  # noqa: FBT001 -- as above
) -> None:
    calls = read(program, *chain, exports=exports)

    assert names(calls) == (caller, binding)
    assert (calls.route, calls.is_bypass) == (route, bypass)
    assert (calls.route_reason is None) == (route != "unknown")


@pytest.mark.parametrize(
    ("chain", "exports", "bypass"),
    [
        ((LIBC, LIBUV, LIBNODE, NODE), APART, False),
        ((LIBC, LIBUV.replace("uv.so.1", "cares.so.2"), LIBUV, LIBNODE), APART, False),
        # A thread of its pool, which looks a name up.
        ((LIBC, LIBUV, LIBC), APART, False),
        # By whom, if not by Node's own code.
        ((LIBC, LIBUV, ADDON, LIBNODE), APART, True),
        ((LIBC, LIBUV, "/usr/lib/libother.so.1", LIBNODE), APART, True),
        # A Node that has an event loop inside, beside another one.
        ((LIBC, LIBUV, LIBNODE), {LIBNODE: SERVER_SYMBOLS}, True),
        ((LIBC, LIBUV, LIBC), {LIBNODE: SERVER_SYMBOLS}, True),
        # Anybody's file, by its name.
        ((LIBC, f"{SITE}/libuv.so.1.0.0", LIBNODE), APART, True),
        ((LIBC, "/home/me/libuv.so.1", LIBNODE), APART, True),
        ((LIBC, LIBUV.replace("so.1.", "so.10."), LIBNODE), APART, True),
    ],
)
def test_a_node_whose_event_loop_is_a_library_apart(
    chain: tuple[str, ...], exports: dict[str, frozenset[str]], *, bypass: bool
) -> None:
    calls = read(NODE, *chain, exports=exports, others=(LIBNODE,))

    assert (calls.route, calls.is_bypass) == ("native", bypass)


def test_who_had_nodes_event_loop_connect_is_unknown_if_the_chain_ends_there() -> None:
    calls = read(
        NODE, LIBC, LIBUV, exports=APART, others=(LIBNODE,), stopped="the end of it"
    )

    assert (calls.route, calls.route_reason) == ("unknown", "the end of it")
    assert calls.is_bypass is None


def test_nothing_but_the_c_library_is_unknown() -> None:
    calls = read(PYTHON, LIBC, "/usr/lib/ld-linux-x86-64.so.2", exports=STATIC)

    assert calls.caller is None
    assert calls.route == "unknown"
    assert calls.is_bypass is None
    assert calls.route_reason == "no module but the C library is on the stack"


CUT = "the end of the stack that was copied"


# CPython's gethostbyaddr has a buffer of 16 KiB: the copy ends before the interpreter.
def test_a_chain_that_ends_before_the_interpreter_is_still_cpythons_own() -> None:
    shared = read(
        "/usr/bin/tool",
        LIBC,
        SOCKET,
        exports=SHARED,
        stopped=CUT,
        others=(LIBPYTHON,),
    )
    static = read(
        PYTHON, LIBC, SOCKET, exports={PYTHON: frozenset({RUNTIME})}, stopped=CUT
    )

    for calls in (shared, static):
        assert (calls.route, calls.route_reason) == ("python-socket", None)
        assert calls.is_bypass is False


def test_a_socket_module_of_no_interpreter_that_is_known_is_unknown() -> None:
    foreign = SOCKET.replace("/usr", "/home/me")

    calls = read(PYTHON, LIBC, foreign, exports=STATIC, stopped=CUT)

    assert (calls.route, calls.route_reason) == ("unknown", CUT)
    assert calls.is_bypass is None


# As node --use-largepages=on leaves its own code: no bypass that is known.
def test_code_in_the_place_of_the_programs_own_is_unknown() -> None:
    space = AddressSpace()
    space.add(Mapping(0x10000, 0x20000, 0, NODE.encode(), 1, 1, 1))
    copy = Mapping(0x11000, 0x1F000, 0, b"//anon", 1, 0, 2)
    beside = Mapping(0x30000, 0x31000, 0, b"//anon", 1, 0, 2)
    for mapping in (copy, beside):
        space.add(mapping)

    def calls(mapping: Mapping) -> Calls:
        frame = Frame(mapping.start, mapping, "instruction", None)
        files = cast("Images", Files(SERVER))
        return read_calls(Unwound([frame], None), space, files, 7)

    assert (calls(beside).route, calls(beside).is_bypass) == ("unbacked", True)
    assert (calls(copy).route, calls(copy).is_bypass) == ("unknown", None)
    reason = "code in no file is in the place of the program's own"
    assert calls(copy).route_reason == reason


def test_what_called_is_known_wherever_the_chain_ends() -> None:
    calls = read(PYTHON, LIBC, "/usr/lib/libffi.so.8", exports=STATIC, stopped=CUT)

    assert (calls.route, calls.is_bypass) == ("native", True)


def test_a_socket_module_beside_another_interpreter_that_called_is_a_bypass() -> None:
    foreign = SOCKET.replace("/usr", "/home/me")
    other = LIBPYTHON.replace("/usr", "/home/me")

    calls = read(
        PYTHON,
        LIBC,
        foreign,
        PYTHON,
        exports={**STATIC, other: frozenset({RUNTIME})},
        stopped=CUT,
        others=(other,),
    )

    assert (calls.route, calls.is_bypass) == ("native", True)
