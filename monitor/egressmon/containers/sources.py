"""Where facts of containers come from: sockets of engines, and files beside bundles."""

from pathlib import Path
from typing import Literal

from egressmon.containers.paths import Engine
from egressmon.values import dataclass

_TASKS = "/run/containerd/io.containerd.runtime.v2.task"
_STORED = "/run/containers/storage/overlay-containers"


@dataclass(frozen=True, slots=True)
class Source:
    """One place to ask; the id of a container is put in the place of `{id}`."""

    kind: Literal["socket", "file"]
    engines: tuple[Engine, ...]
    """Whose containers it may know."""
    path: str


KNOWN = (
    Source("socket", ("docker",), "/run/docker.sock"),
    Source("socket", ("podman",), "/run/podman/podman.sock"),
    Source("file", ("docker",), f"{_TASKS}/moby/{{id}}/config.json"),
    Source("file", ("containerd", "kubernetes"), f"{_TASKS}/k8s.io/{{id}}/config.json"),
    Source("file", ("containerd",), f"{_TASKS}/default/{{id}}/config.json"),
    Source(
        "file",
        ("podman", "crio", "kubernetes"),
        f"{_STORED}/{{id}}/userdata/config.json",
    ),
)


def sources_with(sockets: dict[Engine, str]) -> tuple[Source, ...]:
    """Return the sources, with other paths of the engines' sockets in `sockets`."""
    others = [
        Source("socket", (engine,), str(Path(path).absolute()))
        for engine, path in sockets.items()
    ]
    rest = [
        one
        for one in KNOWN
        if one.kind == "file" or not set(one.engines) & sockets.keys()
    ]
    return (*others, *rest)
