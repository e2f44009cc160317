"""Connect in asyncio's tasks and callbacks: each way to a port of its own."""

import asyncio
import contextvars
import socket
import sys
import threading

WAITING = 20_000


def dial(port):
    with socket.socket() as one:
        one.connect_ex(("127.0.0.1", port))


async def dialler(port):
    dial(port)


def do_nothing():
    pass


def make_task(port):
    tasks.append(asyncio.ensure_future(dialler(port)))


def call_again(port):
    asyncio.get_running_loop().call_soon(dial, port)


def make_python_task(loop, coroutine, **options):
    return asyncio.tasks._PyTask(coroutine, loop=loop, **options)


async def in_python_task():
    loop = asyncio.get_running_loop()
    loop.set_task_factory(make_python_task)
    await loop.create_task(dialler(4))
    loop.set_task_factory(None)


async def in_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(dialler(5))


async def eager(port):
    dial(port)
    await asyncio.sleep(0)
    dial(port + 1)


async def in_eager_task():
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    await loop.create_task(eager(6))
    loop.set_task_factory(None)


async def after_others():
    """A task that many callbacks are scheduled after, all at once."""
    await others_done.wait()
    dial(8)


async def scheduler():
    """Schedule callbacks from a task."""
    loop = asyncio.get_running_loop()
    loop.call_soon(dial, 20)
    loop.call_later(0, dial, 21)
    loop.call_soon(make_task, 22)
    loop.call_soon(call_again, 23)
    loop.call_soon_threadsafe(dial, 24)
    await asyncio.sleep(0.01)
    await asyncio.gather(*tasks)


async def fetch_user():
    global others_done
    others_done = asyncio.Event()
    await asyncio.gather(dialler(1))
    contextvars.copy_context().run(dial, 2)
    await asyncio.to_thread(dial, 3)
    await in_python_task()
    if sys.version_info >= (3, 11):
        await in_group()
    if sys.version_info >= (3, 12):
        await in_eager_task()
    waiting = asyncio.ensure_future(after_others())
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    for _ in range(WAITING):
        loop.call_soon(do_nothing)
    others_done.set()
    await waiting
    await asyncio.ensure_future(scheduler())


def outside():
    """Schedule a callback from no task, where tasks' Contexts were."""
    loop = asyncio.new_event_loop()
    for _ in range(300):
        loop.call_soon(do_nothing)
    loop.call_soon(dial, 30)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()


async def relay(port):
    loop = asyncio.get_running_loop()
    for _ in range(100):
        loop.call_soon(do_nothing)
        await asyncio.sleep(0)
    loop.call_soon(dial, port)
    await asyncio.sleep(0)


def first_thread():
    asyncio.run(relay(40))


def second_thread():
    asyncio.run(relay(41))


tasks = []
asyncio.run(fetch_user())
outside()
threads = [threading.Thread(target=one) for one in (first_thread, second_thread)]
for one in threads:
    one.start()
for one in threads:
    one.join()
