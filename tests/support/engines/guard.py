"""End everything in a cgroup, and remove it, as soon as the input ends.

guard.py CGROUP FOLDER: its input is a pipe whose other end the test holds, so that this
happens as well when the test's process is killed. FOLDER is removed, too.
"""

import select
import shutil
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
    """Run the command line."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    cgroup, folder = map(Path, sys.argv[1:3])
    sys.stdin.read()
    (cgroup / "cgroup.kill").write_text("1")
    _until_empty(cgroup)
    # The deepest first.
    for below in sorted(cgroup.glob("**/"), key=lambda one: -len(one.parts)):
        with suppress(FileNotFoundError):
            below.rmdir()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
