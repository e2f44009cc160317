"""Schedule what asyncio runs, and does nothing: tasks.py COUNT task|call_soon.

Prints how many nanoseconds each takes, from the first call to the end of the last.
"""

import asyncio
import sys
import time

AT_ONCE = 50


async def in_task() -> None:
    """Do nothing, in a task."""


def in_callback() -> None:
    """Do nothing, in a callback."""


async def schedule(count: int, kind: str) -> float:
    """Return the nanoseconds that one of `count` tasks or callbacks takes."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter_ns()
    for _ in range(count // AT_ONCE):
        if kind == "task":
            await asyncio.gather(*(in_task() for _ in range(AT_ONCE)))
            continue
        for _ in range(AT_ONCE):
            loop.call_soon(in_callback)
        await asyncio.sleep(0)  # until all have run
    return (time.perf_counter_ns() - began) / count


print(asyncio.run(schedule(int(sys.argv[1]), sys.argv[2])))
