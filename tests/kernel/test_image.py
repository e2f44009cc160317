"""The container image, run by docker: with which rights it watches."""

import json
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from egressmon.sensor.scope import find_root
from support.roots import Root, root

pytestmark = [pytest.mark.userspace, pytest.mark.packages, pytest.mark.alone]

BUILD = Path(__file__).parents[2] / "scripts/build-image"
SOCKET = "unix:///run/docker.sock"
DAEMON = (
    *("dockerd", "--data-root=/store", "--exec-root=/run/dk", "-H", SOCKET),
    *("--iptables=false", "--ip6tables=false", "--bridge=none"),
    "--pidfile=/run/dockerd.pid",
)
# docs/operations/install.md says these: for whoever changes them.
PRIVILEGED = ("--privileged", "--pid=host", "--cgroupns=host", "--network=host")
NINE = (
    *("--pid=host", "--cgroupns=host", "--network=host", "--cap-drop=ALL"),
    *(
        f"--cap-add={name}"
        for name in (
            *("BPF", "PERFMON", "NET_ADMIN", "SYS_PTRACE", "DAC_OVERRIDE"),
            *("SETUID", "SETGID", "SETPCAP", "KILL"),
        )
    ),
    "--volume=/sys/fs/cgroup:/sys/fs/cgroup",
)
SIDECAR = ("sidecar", "--all", "--runtime", "/run/egressmon")
KEPT = ("--evidence", "/var/lib/evidence", "--token-file", "/run/egressmon/token")
STOP = "exec egressmon sidecar stop --token-stdin --json </run/egressmon/token"
CONNECT = "import socket; print(socket.socket().connect_ex(('10.213.7.2', 4401)))"
Docker = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Generator[Docker]:
    """A docker with the image, in a root folder and a network of its own."""
    folder = tmp_path_factory.mktemp("image")
    words = [str(BUILD), str(folder)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    with root("trixie", ["docker.io", "docker-cli", "iptables"]) as machine:
        image = machine.add(Path(done.stdout.strip()))
        with (folder / "log").open("wb") as log:
            daemon = subprocess.Popen(
                ["unshare", "--net", *machine.words(*DAEMON)],
                stdout=log,
                stderr=log,
            )
        try:
            run = client(machine)
            while run("version").returncode:
                assert daemon.poll() is None, (folder / "log").read_text()[-3000:]
            loaded = run("load", "--input", image)
            assert "egressmon:latest" in loaded.stdout, loaded.stderr
            yield run
        finally:
            daemon.terminate()
            daemon.wait()
            for below in find_root().glob("docker"):
                below.rmdir()


def client(machine: Root) -> Docker:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return machine.run("docker", "-H", SOCKET, *words)

    return run


@pytest.mark.parametrize("rights", [PRIVILEGED, NINE], ids=["privileged", "nine"])
def test_a_sidecar_in_a_container_sees_the_others(
    docker: Docker, rights: tuple[str, ...]
) -> None:
    started = docker("run", "-d", "--name=side", *rights, "egressmon", *SIDECAR, *KEPT)
    assert started.returncode == 0, started.stderr
    try:
        ask = ("exec", "side", "egressmon", "sidecar", "status")
        while docker(*ask).returncode:
            running = docker("inspect", "-f", "{{.State.Running}}", "side").stdout
            assert running == "true\n", docker("logs", "side").stderr
        job = ("run", "--rm", "--network=host", "--entrypoint=/usr/bin/python3.11")
        assert docker(*job, "egressmon", "-c", CONNECT).stdout == "101\n"

        stopped = docker("exec", "side", "sh", "-c", STOP)

        answer = json.loads(stopped.stdout)
        assert answer["concluded"] is True, answer
        assert "10.213.7.2:4401/tcp" in stopped.stdout
    finally:
        docker("rm", "--force", "side")


def test_doctor_finds_all_it_needs(docker: Docker) -> None:
    done = docker("run", "--rm", *PRIVILEGED, "egressmon", "doctor")

    assert done.returncode == 0, done.stdout
    assert "FAIL" not in done.stdout


@pytest.mark.parametrize("left_out", ["--pid=host", "--cgroupns=host"])
def test_without_the_machines_namespaces_it_is_refused(
    docker: Docker, left_out: str
) -> None:
    rights = [one for one in PRIVILEGED if one != left_out]
    if left_out == "--cgroupns=host":
        rights.append("--cgroupns=private")  # docker's own default, with cgroup v2

    done = docker("run", "--rm", *rights, "egressmon", *SIDECAR)

    assert done.returncode == 125
    assert "this is a container" in done.stderr
    assert "--cgroupns=host" in done.stderr
