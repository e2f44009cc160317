"""Real peers: HTTP on two ports and a UDP echo, on IPv4 and IPv6.

peers.py HTTP_PORT OTHER_PORT UDP_PORT
"""

import http.server
import socket
import socketserver
import sys
import threading


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- as above
        """Say nothing."""


class _Http(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 256


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, reply = self.request
        reply.sendto(data, self.client_address)


class _Udp(socketserver.ThreadingUDPServer):
    address_family = socket.AF_INET6


def main() -> None:
    http_port, other_port, udp_port = map(int, sys.argv[1:4])
    servers: list[socketserver.BaseServer] = [
        _Http(("::", http_port), _Page),
        _Http(("::", other_port), _Page),
        _Udp(("::", udp_port), _Echo),
    ]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)  # noqa: T201 -- what the lab waits for
    threading.Event().wait()


if __name__ == "__main__":
    main()
