"""A stand-in for a container engine's socket, well-behaved or not."""

import json
import os
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

Serve: TypeAlias = Callable[[socket.socket, str], None]
"""Called with a connection and the id that was asked for; closes nothing."""
_MAX_REQUEST = 4096


def inspected(identifier: str, name: str, **more: Any) -> dict[str, Any]:
    """Return what Docker says of a container, in the parts that are read of it."""
    return {
        "Id": identifier,
        "Name": f"/{name}",
        "State": {"Pid": 0, "Running": False},
        "Config": {"Image": "app:1", "Labels": {"role": "test"}},
        **more,
    }


def response(body: bytes, status: str = "200 OK") -> bytes:
    """Return an HTTP response."""
    head = f"HTTP/1.0 {status}\r\nContent-Type: application/json\r\n\r\n"
    return head.encode() + body


def answers(connection: socket.socket, identifier: str) -> None:
    """Say what a container is: its name has the first digits of its id."""
    said = inspected(identifier, f"named-{identifier[:6]}")
    connection.sendall(response(json.dumps(said).encode()))


def never(connection: socket.socket, _identifier: str) -> None:
    """Say nothing until the other side gives up."""
    connection.recv(1)


def endless(connection: socket.socket, _identifier: str) -> None:
    """Say more than anybody takes."""
    connection.sendall(response(b"{"))
    while True:
        connection.sendall(b" " * 65536)


def unknown(connection: socket.socket, _identifier: str) -> None:
    """Know no container."""
    connection.sendall(response(b'{"message":"No such container"}', "404 Not Found"))


def senseless(connection: socket.socket, _identifier: str) -> None:
    """Say what is no answer."""
    connection.sendall(os.urandom(4096))


@contextmanager
def engine(path: Path, serve: Serve = answers) -> Generator[list[str]]:
    """Serve at the socket `path`; yield the ids that were asked for, as they come."""
    asked: list[str] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(64)

    def attend(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            line = connection.recv(_MAX_REQUEST).split(b"\r\n")[0].decode()
            verb, target, _ = line.split()
            _, _, identifier, last = target.split("/")
            assert (verb, last) == ("GET", "json")
            asked.append(identifier)
            serve(connection, identifier)

    def accept() -> None:
        with suppress(OSError):
            while True:
                one = listener.accept()[0]
                threading.Thread(target=attend, args=(one,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        path.unlink()
