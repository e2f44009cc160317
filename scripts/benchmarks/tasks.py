"""Create asyncio tasks that do nothing: tasks.py COUNT.

Prints how many nanoseconds each takes, from the call of gather() to its end.
"""

import asyncio
import sys
import time

AT_ONCE = 50


async def nothing() -> None:
    """Do nothing."""


async def create(count: int) -> float:
    """Return the nanoseconds that one of `count` tasks takes."""
    began = time.perf_counter_ns()
    for _ in range(count // AT_ONCE):
        await asyncio.gather(*(nothing() for _ in range(AT_ONCE)))
    return (time.perf_counter_ns() - began) / count


print(asyncio.run(create(int(sys.argv[1]))))
