"""Connect a datagram socket in a loop, from so deep in Python: depth.py DEPTH COUNT.

Prints the nanoseconds that one connect takes.
"""

import socket
import sys
import time


def deep(depth: int, count: int) -> float:
    """Return the nanoseconds that one of count connects takes, depth frames down."""
    if depth:
        return deep(depth - 1, count)
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    connect, peer = one.connect, ("127.0.0.1", 9)
    began = time.perf_counter_ns()
    for _ in range(count):
        connect(peer)
    return (time.perf_counter_ns() - began) / count


print(deep(int(sys.argv[1]) - 2, int(sys.argv[2])))
