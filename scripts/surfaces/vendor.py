"""A stand-in for model vendors: HTTPS on all addresses, and a proxy that refuses.

`vendor.py CERTIFICATE KEY` serves in the namespace in which it runs, until it is ended.
Whatever the name in a request is, it answers as the APIs of Anthropic and OpenAI do,
with a few tokens of usage. Of a model that is called `overloaded`, each first request
gets 529 and a closed connection, as in an outage, and the next one an answer. One
called `silent` is never answered, and one called `greedy` says that it spent a million
tokens. One called `moved` is at another host, and the answer of one called `endless`
does not end.
"""

import json
import socket
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

HTTPS_PORT, PROXY_PORT = 443, 3128
MOVED_TO = "elsewhere.example"
_USAGE = {"input_tokens": 9, "output_tokens": 3}
_CHAT_USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
_GREEDY = {"input_tokens": 10**6, "output_tokens": 0}
_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "content": [{"type": "text", "text": "ready"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": _USAGE,
}
_COMPLETION = {
    "id": "compl_1",
    "type": "completion",
    "completion": " ready",
    "stop_reason": "stop_sequence",
    "stop": None,
}
_CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "ready"},
            "finish_reason": "stop",
        }
    ],
    "usage": _CHAT_USAGE,
}
_ANSWERS: dict[str, dict[str, Any]] = {
    "/v1/messages": _MESSAGE,
    "/v1/complete": _COMPLETION,
    "/v1/chat/completions": _CHAT,
}
_OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}


class _Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is one write, so that clients see it whole
    refused: ClassVar[set[str]] = set()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_POST(self) -> None:
        """Answer a call."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = json.loads(body or b"{}")
        model = str(asked.get("model", ""))
        path = self.path.partition("?")[0]
        key = f"{self.headers.get('Host')}{path}"
        if model == "overloaded" and key not in self.refused:
            self.refused.add(key)
            self.close_connection = True
            self._say(529, _OVERLOADED)
            return
        self.refused.discard(key)
        if model == "silent":
            self.rfile.read(1)  # until the client has enough
            return
        if model == "moved":
            self._say(307, {}, Location=f"https://{MOVED_TO}{self.path}")
            return
        if model == "endless":
            self._go_on()
            return
        answer = _ANSWERS.get(path)
        if answer is None:
            self._say(404, {"error": {"type": "not_found", "message": path}})
        else:
            spent = {"usage": _GREEDY} if model == "greedy" else {}
            self._say(200, {**answer, "model": model, **spent})

    def do_GET(self) -> None:
        """Say that nothing is there."""
        self._say(404, {})

    def do_CONNECT(self) -> None:
        """Refuse, as a proxy that lets nobody pass."""
        self.close_connection = True
        self._say(403, {})

    def _go_on(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(1 << 50))
        self.end_headers()
        while True:  # until the client has enough
            self.wfile.write(b" " * (1 << 20))

    def _say(self, status: int, value: dict[str, Any], **headers: str) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        for name, text in headers.items():
            self.send_header(name, text)
        if status >= 500:
            self.send_header("Retry-After-Ms", "1")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


class _Everywhere(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that does not trust us closes the connection."""


class _Secured(_Everywhere):
    def __init__(self, port: int, certificate: str, key: str) -> None:
        super().__init__(("::", port), _Api)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate, key)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread."""
        with self._context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)


def main() -> None:
    """Serve until the end."""
    certificate, key = sys.argv[1:]
    secured = _Secured(HTTPS_PORT, certificate, key)
    proxy = _Everywhere(("::", PROXY_PORT), _Api)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    print("ready", flush=True)
    secured.serve_forever()


if __name__ == "__main__":
    main()
