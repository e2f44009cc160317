"""A SUDO_COMMAND is told to be egressmon itself, or a root shell or another program."""

import pytest

from egressmon.startup.caller import runs_egressmon


@pytest.mark.parametrize(
    "command",
    [
        "/opt/egressmon/bin/egressmon",
        "/opt/egressmon/bin/egressmon watch -- id; true",
        "/usr/bin/python3 -I -m egressmon watch -- id",
        "/usr/bin/env -u X A=b /usr/bin/python3 -I -m egressmon watch -- sh -c a;b",
        "/usr/bin/nice -n 5 egressmon watch -- id",
        "/usr/bin/timeout 9 egressmon watch -- id",
        "/bin/bash scripts/egressmon watch -- sh -c a;b",
        "/bin/bash -c egressmon watch -- id",  # from `sudo -s egressmon ...`
        "/bin/bash -c egressmon watch -- sh -c a\\;\\ b",
        "/home/one with a blank/egressmon watch",
    ],
)
def test_a_command_that_is_egressmon(command: str) -> None:
    assert runs_egressmon(command)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "/bin/bash",
        "/usr/bin/su -",
        "/usr/bin/make test",
        "/bin/sh -c egressmon watch -- id; true",
        "/bin/sh -c cd /x && egressmon watch",
        "/bin/bash /home/egressmon/run.sh",
    ],
)
def test_a_command_that_is_roots(command: str) -> None:
    assert not runs_egressmon(command)
