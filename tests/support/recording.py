"""A web service full of secrets, and projects whose tests talk to it."""

import gzip
import json
import os
import subprocess
import sys
import threading
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

PASSWORD = "correct-Horse-7-battery"  # noqa: S105 -- what must not be recorded
SECRETS = {
    "authorization": "Zm9vYmFyc2VjcmV0dG9rZW4x",
    "api_key_header": "k9-header-api-key-77",
    "cookie": "c00kie-value-of-the-client",
    "set_cookie": "s3ssion-value-of-the-server",
    "user": "alice-user-info",
    "url_password": "url-pa55word-here",
    "query": "query-pa55word-here",
    "signature": "f00dfeedc0ffee11",
    "json": "json-body-s3cret",
    "form": "form-body-s3cret",
    "gzip": "gzip-body-s3cret",
    "deflate": "deflate-body-s3cret",
    "event": "event-stream-s3cret",
    "part": "multipart-s3cret",
    "echoed": "echoed-from-the-environment-42",
}
"""Where each is: none of them is known by its shape."""
EGRESSMON = (sys.executable, "-I", "-m", "egressmon")

CONFTEST = """\
import pytest
from egressmon import cassettes

@pytest.fixture(scope="module")
def vcr_config():
    return cassettes.vcr_config()
"""
TESTS = """\
import json, os, urllib.request as web
import pytest
BASE = os.environ["SERVICE"]

def ask(path, data=None, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    with web.urlopen(web.Request(BASE + path, data, headers)) as answer:
        return answer.read()
"""


class _Handler(BaseHTTPRequestHandler):
    extra: ClassVar[dict[str, object]] = {}
    status: ClassVar[int] = 200
    asked: ClassVar[list[str]] = []

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        """Answer by the path."""
        type(self).asked.append(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        path = self.path.partition("?")[0]
        shown = SECRETS.get(path.strip("/"), SECRETS["json"])
        value = {"data": [{"id": 1}], "client_secret": shown, **self.extra}
        body, coding, kind = json.dumps(value).encode(), "", "application/json"
        if path == "/gzip":
            body, coding = gzip.compress(body), "gzip"
        if path == "/deflate":
            body, coding = zlib.compress(body), "deflate"
        if path == "/unknown":
            body, coding = gzip.compress(body), "compress"
        if path == "/event":
            body, kind = b"data: " + body + b"\n\ndata: [DONE]\n\n", "text/event-stream"
        if path == "/echoed":
            body = json.dumps({"said": f"hello {SECRETS['echoed']}"}).encode()
        self.send_response(self.status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", f"sid={SECRETS['set_cookie']}; HttpOnly")
        if coding:
            self.send_header("Content-Encoding", coding)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 -- as http.server has it


class Service:
    """A running service on this machine's loopback."""

    def __init__(self, server: ThreadingHTTPServer, handler: type[_Handler]) -> None:
        self.host = f"127.0.0.1:{server.server_port}"
        self._handler = handler

    @property
    def address(self) -> str:
        """Its URL."""
        return f"http://{self.host}"

    @property
    def asked(self) -> list[str]:
        """The paths that were asked for."""
        return self._handler.asked

    def answer(self, status: int = 200, **extra: object) -> None:
        """Answer with this status from now on, and with `extra` in the JSON."""
        self._handler.status, self._handler.extra = status, extra


@contextmanager
def service() -> Generator[Service]:
    """Run a service."""
    handler = type("Handler", (_Handler,), {"asked": [], "extra": {}, "status": 200})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Service(server, handler)
        finally:
            server.shutdown()
            thread.join()


class Project:
    """A folder with tests in it."""

    def __init__(self, root: Path, service: str, tests: str) -> None:
        self.root = root
        self.variables = {**os.environ, "SERVICE": service}
        for name in ("CI", "GITHUB_ACTIONS", "PYTEST_ADDOPTS"):
            self.variables.pop(name, None)
        (root / "pyproject.toml").write_text("")
        (root / "conftest.py").write_text(CONFTEST)
        (root / "test_it.py").write_text(TESTS + tests)

    def settings(self, text: str) -> None:
        """Write the table of pyproject.toml."""
        whole = f"[tool.egressmon-cassettes]\n{text}\n"
        (self.root / "pyproject.toml").write_text(whole)

    def pytest(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run pytest."""
        return self._run(sys.executable, "-m", "pytest", *_QUIET, *words)

    def egressmon(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run egressmon."""
        return self._run(*EGRESSMON, *words)

    def refresh(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Record anew."""
        flag = "--i-understand-this-spends-tokens"
        pytest = (sys.executable, "-m", "pytest", *_QUIET)
        return self.egressmon("cassettes", "refresh", flag, "--", *pytest, *words)

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            check=False,
            capture_output=True,
            text=True,
            cwd=self.root,
            env=self.variables,
        )

    @property
    def cassettes(self) -> Path:
        """Where pytest-recording puts them."""
        return self.root / "cassettes"

    def recorded(self) -> bytes:
        """Return all bytes of all cassettes."""
        files = sorted(self.cassettes.rglob("*.yaml"))
        return b"".join(path.read_bytes() for path in files)


_QUIET = ("-q", "-p", "no:cacheprovider")
