"""Connect in a sub-interpreter: in the thread that made it (7), in another (8); then here (9).

Then in one that another sub-interpreter runs: in the newer of the two (10), in the older (11).
Last by concurrent.interpreters (12), where there is one.
"""

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
BETWEEN = """
try:
    import _interpreters as interpreters
    run = interpreters.exec
except ImportError:
    import _xxsubinterpreters as interpreters
    run = interpreters.run_string
def middle(other, code):
    of_that_number = getattr(interpreters, "InterpreterID", int)
    run(of_that_number(other), code)
middle(%d, %r)
"""
one = interpreters.create()


def outer(port):
    run(one, CODE % port)


def nested(first, second, port):
    run(first, BETWEEN % (int(second), CODE % port))


outer(7)
thread = threading.Thread(target=outer, args=(8,))
thread.start()
thread.join()
two = interpreters.create()
nested(one, two, 10)
nested(two, one, 11)
interpreters.destroy(two)
interpreters.destroy(one)
_socket.socket().connect_ex(("127.0.0.1", 9))
try:
    from concurrent import interpreters as concurrent
except ImportError:
    concurrent = None
if concurrent is not None:
    concurrent.create().exec(CODE % 12)
