"""A web server with sessions. A turn asks the service at MODEL_URL; nothing else."""

import http.server
import itertools
import os
import signal
import sys
import urllib.request

sessions: dict[str, int] = {}
numbers = itertools.count(1)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(200 if self.path == "/health" else 404)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        match self.path.strip("/").split("/"):
            case ["sessions"]:
                sessions[str(next(numbers))] = 0
                self._answer(201)
            case ["sessions", name, "boot"] if name in sessions:
                self._answer(200)
            case ["sessions", name, "turns"] if name in sessions:
                self._turn(name)
            case _:
                self._answer(404)

    def _turn(self, name: str) -> None:
        with urllib.request.urlopen(os.environ["MODEL_URL"], data=b"{}") as answer:
            answer.read()
        sessions[name] += 1
        print(f"turn {sessions[name]} of session {name} is done", flush=True)
        self._answer(200)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.end_headers()


def stop(*_: object) -> None:
    sys.exit(0)


signal.signal(signal.SIGTERM, stop)
address = ("127.0.0.1", int(sys.argv[1]))
http.server.ThreadingHTTPServer(address, Handler).serve_forever()
