"""Call from the same places again while what is mapped changes: sites.py WHAT EVIDENCE WORDS.

Each call goes to a port of its own, from PORT on, but for those of `imports`. `known` waits until the evidence has
all calls so far: what is called twice by then is recognised by the probes afterwards.
"""

import ctypes
import importlib
import os
import socket
import sys
import threading
import time
from pathlib import Path

PORT = 1000
LIMIT_S = 60
done = 0
peer = None


def known() -> None:
    """Wait until everything so far is in the evidence."""
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        if Path(sys.argv[2]).read_text().count('"type":"connection"') >= done:
            return
        time.sleep(0.01)


def dial(count: int, call=None) -> None:
    """Make that many calls, all from the same place."""
    global done
    for _ in range(count):
        port = PORT + done
        if call is not None:
            call(port)
        else:
            with socket.socket() as one:
                one.connect_ex(peer or ("127.0.0.1", port))
        done += 1


def imports(folder: str, address: str, port: str) -> None:
    """Import extension modules between calls, while two other threads call, too."""
    global peer
    peer = address, int(port)
    dial(10)
    known()
    ended = threading.Event()

    def others() -> None:
        while not ended.wait(0.002):
            with socket.socket() as one:
                one.connect_ex(peer)

    threads = [threading.Thread(target=others) for _ in range(2)]
    for thread in threads:
        thread.start()
    names = sorted(path.name.partition(".")[0] for path in Path(folder).glob("*.so"))
    new = [name for name in names if name not in sys.modules and "test" not in name]
    for name in new[:40]:
        dial(10)
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    dial(400 - done)
    ended.set()
    for thread in threads:
        thread.join()


def libraries(*paths: str) -> None:
    """Load and unload libraries in turns, at one address, and call through each."""
    close = ctypes.CDLL(None).dlclose
    close.argtypes = [ctypes.c_void_p]
    places = set()
    for turn in range(6):
        library = ctypes.CDLL(paths[turn % len(paths)])
        places.add(ctypes.cast(library.dial, ctypes.c_void_p).value)
        dial(4, library.dial)
        known()
        dial(4, library.dial)
        close(library._handle)
    print(len(places))


def children() -> None:
    """Fork children that call, one after the other: they have the same memory in turns."""
    global done
    for _ in range(20):
        child = os.fork()
        if child == 0:
            dial(3)
            known()
            dial(3)
            os._exit(0)
        os.waitpid(child, 0)
        done += 6


def programs(before: str) -> None:
    """Execute this very program again and again, at the same addresses."""
    global done
    done = int(before)
    dial(3)
    known()
    dial(3)
    if done < 60:
        os.execv(sys.executable, [sys.executable, *sys.argv[:3], str(done)])


globals()[sys.argv[1]](*sys.argv[3:])
