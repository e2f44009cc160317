"""End everything in a cgroup, and remove it, as soon as the input ends.

guard.py CGROUP: its input is a pipe whose other end the test holds, so that this
happens as well when the test's process is killed.
"""

import select
import signal
import sys
from contextlib import suppress
from pathlib import Path


def _until_empty(cgroup: Path) -> None:
    with (cgroup / "cgroup.events").open() as events:
        told = select.poll()
        told.register(events, select.POLLPRI)
        while True:
            events.seek(0)
            if "populated 0" in events.read():
                return
            told.poll(1000)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    cgroup = Path(sys.argv[1])
    sys.stdin.read()
    (cgroup / "cgroup.kill").write_text("1")
    _until_empty(cgroup)
    # The deepest first; an engine's own process may just have removed one.
    for below in sorted(cgroup.glob("**/"), key=lambda one: -len(one.parts)):
        with suppress(FileNotFoundError):
            below.rmdir()


if __name__ == "__main__":
    main()
