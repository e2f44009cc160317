"""`egressmon sidecar --pid` and `--job`: some processes, and all that they start."""

import os
import subprocess
import sys
from collections.abc import Generator

import pytest

from support.lab import Lab
from support.runners import runner
from support.sidecars import Sidecar, sidecar

FAIL = 'enforce = "fail"\n'
# Starts what each line says, and says when that is done.
SHELL = (
    "import subprocess, sys\n"
    "for line in sys.stdin:\n"
    "    subprocess.run(['bash', '-c', line], stderr=subprocess.DEVNULL)\n"
    "    print('done', flush=True)\n"
)
CONNECT = ": > /dev/tcp/10.213.7.2/{}"


class Tree:
    """A process that starts others, and has a child that does so, too."""

    def __init__(self, network: Lab) -> None:
        words = [*network.enter(), sys.executable, "-I", "-c", SHELL]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, line: str) -> None:
        """Have it run `line`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(line, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "done\n"

    def connect(self, port: int) -> None:
        """Have a child of its connect."""
        self.run(CONNECT.format(port))


@pytest.fixture
def aside() -> Generator[Sidecar]:
    """A sidecar whose policy allows nothing, and fails."""
    with sidecar(FAIL) as one:
        yield one


@pytest.fixture
def trees(network: Lab) -> Generator[tuple[Tree, Tree]]:
    """Two such processes."""
    found = Tree(network), Tree(network)
    yield found
    for one in found:
        one.process.communicate()


def begin(one: Sidecar, *options: str) -> None:
    """Start it with the test's policy."""
    done = one.start(*options, "--policy", str(one.folder / "egress.toml"))
    assert done.returncode == 0, done.stderr


def test_a_process_is_watched_with_what_it_starts_and_no_other(
    trees: tuple[Tree, Tree], aside: Sidecar
) -> None:
    one, other = trees
    one.connect(4600)
    fifo = aside.folder / "fifo"
    os.mkfifo(fifo)
    older = f"(read port < {fifo}; : > /dev/tcp/10.213.7.2/$port) 2>/dev/null &"
    one.run(f"sleep 300 >/dev/null & echo $! > {aside.folder}/sleeper; {older}")
    begin(aside, "--pid", str(one.process.pid))
    for number in range(20):
        one.connect(4610 + number)
        other.connect(4650 + number)
    told = aside.folder / "told"
    os.mkfifo(told)
    orphan = f"{CONNECT.format(4640)}; echo > {told}"
    one.run(f"setsid -f bash -c '{orphan}'; read x < {told}")
    status, answer = aside.stop()
    os.kill(int((aside.folder / "sleeper").read_text()), 15)
    with fifo.open("w") as line:
        print(1, file=line)

    assert (status, answer["verdict"]) == (120, "violations")
    assert answer["incomplete_reasons"] == []
    made = [one for one in aside.verified() if one["type"] == "connection"]
    ports = [one["dst"]["port"] for one in made]
    assert sorted(ports) == [*range(4610, 4630), 4640]
    assert {one["origin"] for one in made} == {"job"}
    assert all(one["process"]["exe"] for one in made)
    start = next(one for one in aside.records() if one["type"] == "run.start")
    assert start["scope"].startswith(f"process {trees[0].process.pid} (")
    assert "left-behind" in {spot["name"] for spot in start["blind_spots"]}


def test_what_it_had_started_before_is_watched_too(
    trees: tuple[Tree, Tree], aside: Sidecar
) -> None:
    fifo = aside.folder / "fifo"
    os.mkfifo(fifo)
    inner = f"read port < {fifo}; : > /dev/tcp/10.213.7.2/$port; true"
    one, _ = trees
    assert one.process.stdin is not None
    print(inner, file=one.process.stdin, flush=True)
    with fifo.open("w") as line:  # until it has been opened there
        begin(aside, "--pid", str(one.process.pid))
        print(4680, file=line, flush=True)
    assert one.process.stdout is not None
    one.process.stdout.readline()
    aside.stop()

    (made,) = aside.reached(port=4680)
    assert made["process"]["exe"].endswith("/bash")


def test_the_callers_job_alone_is_watched(
    network: Lab, trees: tuple[Tree, Tree], aside: Sidecar
) -> None:
    with runner(aside.folder) as job:
        aside.start_in(job, "--job", "auto")
        for number in range(10):
            script = CONNECT.format(4700 + number) + "; true"
            job.step(f"step{number}", *network.enter(), "bash", "-c", script)
            trees[0].connect(4750 + number)
    status, answer = aside.stop()

    assert status == 120
    made = [one for one in aside.verified() if one["type"] == "connection"]
    assert [one["dst"]["port"] for one in made] == [*range(4700, 4710)]
    assert answer["origins"] == {"job": 10}
    assert answer["steps"] == {f"build/step{number}": 1 for number in range(10)}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--pid", "4194000"], "is not there"),
        (["--pid", "1"], "descends from process 1"),
        (["--pid", "2"], "is a thread of the kernel's"),
        (["--pid", "-3"], "write the number of a process"),
        (["--pid", "x"], "write the number of a process"),
        (["--pid", "99999999999"], "write the number of a process"),
        (["--pid", "77", "--all"], "not allowed with argument"),
        (["--job", "77"], "invalid choice"),
    ],
)
def test_what_cannot_be_watched_is_refused_in_a_line(
    aside: Sidecar, options: list[str], said: str
) -> None:
    done = aside.start(*options)

    assert done.returncode == 125, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (aside.folder / "token").exists()
