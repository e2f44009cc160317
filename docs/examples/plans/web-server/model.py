"""Stands for the service that a turn asks."""

import http.server
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"text": "hello yourself"}')


address = ("127.0.0.1", int(sys.argv[1]))
http.server.ThreadingHTTPServer(address, Handler).serve_forever()
