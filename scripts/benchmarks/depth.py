"""Connect a datagram socket in a loop, DEPTH Python frames deep: depth.py DEPTH COUNT.

Prints how many nanoseconds one connect takes.
"""

import socket
import sys
import time


def deep(depth: int, count: int) -> float:
    """Return how many ns one of `count` connects takes, `depth` frames deep."""
    if depth:
        return deep(depth - 1, count)
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    connect, peer = one.connect, ("127.0.0.1", 9)
    began = time.perf_counter_ns()
    for _ in range(count):
        connect(peer)
    return (time.perf_counter_ns() - began) / count


print(deep(int(sys.argv[1]) - 2, int(sys.argv[2])))
