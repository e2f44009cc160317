"""Connect in many ways; write down the stack of each call, as Python itself sees it.

stacks.py FILE: one line of JSON a call: its address, and (name, file, line) of each
frame, innermost first. Every call goes to an address of its own.
"""

import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import weakref
from functools import reduce

OUT = open(sys.argv[1], "a", buffering=1)
PART = int(sys.argv[2]) if len(sys.argv) > 2 else 0
LOCK = threading.Lock()
NUMBER = [0]
LIBC = ctypes.CDLL(None)


def name_of(code):
    return getattr(code, "co_qualname", code.co_name)


def target():
    with LOCK:
        NUMBER[0] += 1
        return "127.%d.%d.%d" % (PART + 1, NUMBER[0] >> 8, NUMBER[0] & 255)


def note(address, frame):
    frames = []
    while frame is not None:
        frames.append([name_of(frame.f_code), frame.f_code.co_filename, frame.f_lineno])
        frame = frame.f_back
    OUT.write(json.dumps([address, frames]) + "\n")


def hook(event, arguments):
    """Called by the very call, before it happens: PEP 578."""
    if event in {"socket.connect", "socket.sendto"}:
        note(arguments[1][0], sys._getframe(1))


sys.addaudithook(hook)


class Sockets:
    """Makes calls whose innermost frame is the caller's own."""

    kept = []


def fresh():
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    Sockets.kept.append(one)
    if len(Sockets.kept) > 300:  # more than there are threads that still send
        Sockets.kept.pop(0).close()
    return one


def dial():
    s = fresh()
    s.connect((target(), 9))
    s.send(b"x")


def several_lines():
    s = fresh()
    s.sendto(
        b"x",
        (target(), 9),
    )


def deep(count):
    if count:
        return deep(count - 1)
    return dial()


def generator(count):
    if count:
        yield from generator(count - 1)
    else:
        yield dial()


class Finalised:
    def __del__(self):
        dial()


class Compared:
    def __eq__(self, other):
        dial()
        return True

    __hash__ = None


class Meta(type):
    def __call__(cls, *args):
        dial()
        return super().__call__(*args)


class Made(metaclass=Meta):
    def __init__(self):
        dial()


class Entered:
    def __enter__(self):
        dial()

    def __exit__(self, *args):
        dial()


def by_ctypes():
    fd = fresh().fileno()
    address = target()
    peer = struct.pack("=HH4s8x", 2, socket.htons(9), socket.inet_aton(address))
    _ = note(address, sys._getframe()), LIBC.connect(fd, peer, 16)  # in one line
    LIBC.send(fd, b"x", 1, 0)


def in_finally():
    try:
        raise ValueError
    except ValueError:
        dial()
    finally:
        dial()


def on_signal(*args):
    dial()


def one_after_another():
    """Code objects at addresses that were others' before."""
    for number in range(200):
        lines = "\n" * (number % 50)
        space = {"dial": dial}
        exec(
            compile(
                lines + "def made():\n dial()\nmade()\n", "made-%d" % number, "exec"
            ),
            space,
        )
        del space


def asynchronous():
    import asyncio

    async def inner(count):
        if count:
            await inner(count - 1)
        else:
            dial()

    async def main():
        await inner(5)
        await asyncio.gather(*(inner(n) for n in range(3)))
        await asyncio.get_running_loop().run_in_executor(None, dial)

    asyncio.run(main())


def greenlets():
    try:
        import greenlet
    except ImportError:
        return
    greenlet.greenlet(lambda: dial()).switch()


def main():
    dial()
    several_lines()
    deep(10)
    sys.setrecursionlimit(5000)
    deep(500)
    threading.stack_size(64 << 20)
    deepest = threading.Thread(target=deep, args=(3000,))
    deepest.start()
    deepest.join()
    threading.stack_size(0)
    for _ in generator(20):
        pass
    list(dial() for _ in range(2))
    [dial() for _ in range(2)]
    reduce(lambda a, b: dial(), range(5))
    Finalised()
    Compared() == 1
    Made()
    with Entered():
        dial()
    thing = Sockets()
    watcher = weakref.ref(thing, lambda _: dial())
    del thing, watcher
    by_ctypes()
    in_finally()
    signal.signal(signal.SIGUSR1, on_signal)
    os.kill(os.getpid(), signal.SIGUSR1)
    exec("dial()")
    eval("dial()", {"dial": dial})
    one_after_another()
    threads = [threading.Thread(target=deep, args=(n,)) for n in range(30)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    asynchronous()
    greenlets()
    sys.settrace(lambda *args: None)
    dial()
    sys.settrace(None)


main()
if PART < 2:
    child = os.fork()
    if not child:
        PART += 10
        NUMBER[0] = 0
        dial()
        deep(3)
        os._exit(0)
    os.waitpid(child, 0)
    subprocess.run([sys.executable, __file__, sys.argv[1], str(PART + 2)], check=True)
