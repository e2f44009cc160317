"""`EgressGuard.pinned_to`: narrower than the policy, in one context."""

from pathlib import Path

import pytest

from support.guarded import lines

REACH = 'attempt(lambda: socket.create_connection(("127.0.0.2", 9)))'


def test_a_pin_narrows_and_ends(tmp_path: Path) -> None:
    code = f"""
    with EgressGuard.pinned_to("localhost:9"):
        attempt(lambda: socket.create_connection(("localhost", 9)))
        {REACH}
    {REACH}
    """

    assert lines(tmp_path, code) == ["reached", "violation 127.0.0.2 9", "reached"]


def test_pins_in_pins_only_narrow(tmp_path: Path) -> None:
    code = f"""
    with EgressGuard.pinned_to("localhost:9"), EgressGuard.pinned_to("127.0.0.2:9"):
        {REACH}
    with EgressGuard.pinned_to("localhost:9", "127.0.0.2:9"):
        {REACH}
    """

    assert lines(tmp_path, code) == ["violation 127.0.0.2 9", "reached"]


def test_a_pin_holds_across_await_and_not_in_other_tasks(tmp_path: Path) -> None:
    code = f"""
    import asyncio
    async def pinned(begun, ended):
        async with EgressGuard.pinned_to("localhost:9"):
            begun.set()
            await ended.wait()
            {REACH}
    async def main():
        begun, ended = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(pinned(begun, ended))
        await begun.wait()
        {REACH}
        ended.set()
        await task
    asyncio.run(main())
    """

    assert lines(tmp_path, code) == ["reached", "violation 127.0.0.2 9"]


def test_a_fresh_thread_is_not_pinned(tmp_path: Path) -> None:
    code = f"""
    import threading
    with EgressGuard.pinned_to("localhost:9"):
        one = threading.Thread(target=lambda: {REACH})
        one.start(); one.join()
    """

    assert lines(tmp_path, code) == ["reached"]


def test_what_the_policy_does_not_allow_raises_at_entry(tmp_path: Path) -> None:
    code = """
    pin = EgressGuard.pinned_to("api.example.org:443")
    attempt(pin.__enter__)
    """

    assert lines(tmp_path, code) == ["violation api.example.org 443"]


@pytest.mark.parametrize(
    "text", ["", "x", "localhost", "https://a.example:443", "a:0", "a:70000", "*.a.b:1"]
)
def test_a_malformed_destination_is_a_value_error(tmp_path: Path, text: str) -> None:
    code = f"attempt(lambda: EgressGuard.pinned_to({text!r}))"

    assert "Error(" in lines(tmp_path, code)[0]


def test_nothing_is_pinned_without_a_guard(tmp_path: Path) -> None:
    code = """
    import subprocess
    code = "from egressmon.guard import EgressGuard\\n"
    code += "with EgressGuard.pinned_to('a.example:1'): pass"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    print(done.stderr.splitlines()[-1])
    """

    assert lines(tmp_path, code)[0].startswith("RuntimeError: no guard is installed")
