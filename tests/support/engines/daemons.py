"""Engines that are daemons, and what the others are told in files."""

from collections.abc import Generator
from contextlib import contextmanager

from support.engines.room import Room

USER = "someone"
_HOME = f"/store/{USER}"
_RUNTIME = "/run/user/1000"

# A Debian machine whose files are the room's own: what an engine in a container needs.
_SKELETON = """
mkdir -p /store/skeleton && cd /store/skeleton
mkdir usr etc var proc sys dev run tmp shared store root
for name in bin sbin lib lib64; do ln -s "usr/$name" "$name"; done
tar -c . | docker import - skeleton
"""

# Without limits that root without CAP_SYS_RESOURCE cannot set, and without controllers
# that a hybrid machine's first hierarchy holds.
_PODMAN = """
mkdir -p /etc/containers
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >/etc/containers/policy.json
cat >/etc/containers/containers.conf <<END
[containers]
pids_limit=0
default_ulimits=["nofile=1024:1024","nproc=1000:1000"]
[engine]
cgroup_manager="cgroupfs"
events_logger="file"
END
cat >/etc/containers/storage.conf <<END
[storage]
driver="overlay"
graphroot="/store/podman"
runroot="/run/containers/storage"
END
podman import -q /shared/image.tar localhost/image:1
"""


@contextmanager
def dockerd(room: Room) -> Generator[None]:
    """Run docker's daemon in the room, with an image `image`, and one `skeleton`.

    Its socket is /shared/docker.sock; clients in the room know.
    """
    room.environment["DOCKER_HOST"] = "unix:///shared/docker.sock"
    words = ["dockerd", "--data-root=/store/docker", "--exec-root=/run/dk"]
    daemon = room.start("dockerd.log", *words, f"-H={room.environment['DOCKER_HOST']}")
    try:
        while room.run("docker", "version").status:
            log = room.shared / "dockerd.log"
            assert daemon.poll() is None, log.read_text(errors="replace")[-4000:]
        room.do("docker", "import", "/shared/image.tar", "image")
        room.do("sh", "-euc", _SKELETON)
        yield
    finally:
        daemon.kill()  # its containers end with the room
        daemon.wait()


def set_podman_up(room: Room) -> None:
    """Have podman and buildah run in the room, with an image `localhost/image:1`."""
    room.do("sh", "-euc", _PODMAN)


def add_user(room: Room) -> None:
    """Add a user who has podman, too."""
    room.do("useradd", "--create-home", f"--home-dir={_HOME}", USER)
    room.do("install", "-d", f"--owner={USER}", _RUNTIME)
    room.do(
        *as_user("podman", "import", "-q", "/shared/image.tar", "localhost/image:1")
    )


def as_user(*words: str) -> list[str]:
    """Return the words that run `words` as that user, in the room."""
    who = ["env", "-C", _HOME, f"HOME={_HOME}", f"XDG_RUNTIME_DIR={_RUNTIME}"]
    return ["runuser", "-u", USER, "--", *who, *words]


def building(room: Room, image: str, ports: range) -> str:
    """Make a Dockerfile whose steps connect; return its folder's path in the room."""
    folder = room.shared / f"build-{ports.start}"
    folder.mkdir()
    steps = "".join(f"RUN /connect 10.213.7.2 {port}\n" for port in ports)
    (folder / "Dockerfile").write_text(f"FROM {image}\n{steps}")
    return f"/shared/{folder.name}"
