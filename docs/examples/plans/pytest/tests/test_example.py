"""A suite that talks to a server of its own, on this machine alone."""

import http.client
import http.server
import threading


def test_a_server_of_its_own_answers() -> None:
    kind = http.server.SimpleHTTPRequestHandler
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = http.client.HTTPConnection("127.0.0.1", server.server_port)
        client.request("HEAD", "/")
        status = client.getresponse().status
        client.close()
        server.shutdown()

    assert status == 200
