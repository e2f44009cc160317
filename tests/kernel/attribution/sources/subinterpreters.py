"""Connect in a sub-interpreter: in the thread that made it (7), in another (8); then here (9)."""

import _socket
import threading

try:
    import _interpreters as interpreters

    run = interpreters.exec
except ImportError:
    import _xxsubinterpreters as interpreters

    run = interpreters.run_string

CODE = """
import _socket
def dial(port):
    _socket.socket().connect_ex(("127.0.0.1", port))
dial(%d)
"""
one = interpreters.create()


def outer(port):
    run(one, CODE % port)


outer(7)
thread = threading.Thread(target=outer, args=(8,))
thread.start()
thread.join()
_socket.socket().connect_ex(("127.0.0.1", 9))
interpreters.destroy(one)
