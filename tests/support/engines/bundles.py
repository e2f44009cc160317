"""OCI bundles, which runc, crun and containerd's ctr run as they are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.engines.room import Room
from support.lab import SERVER4


def specification(room: Room) -> dict[str, Any]:
    """Return what `runc spec` writes, changed to what runs on any machine.

    Without a terminal, in the room's network, and without limits, which root without
    CAP_SYS_RESOURCE may not set.
    """
    made = "cd $(mktemp -d) && runc spec && cat config.json"
    found: dict[str, Any] = json.loads(room.do("sh", "-c", made))
    found["process"]["terminal"] = False
    del found["process"]["rlimits"]
    found["root"] = {"path": "/shared/image", "readonly": True}
    kept = [one for one in found["linux"]["namespaces"] if one["type"] != "network"]
    found["linux"]["namespaces"] = kept
    return found


def bundles(
    room: Room, cgroup: str, ports: range, names: Mapping[int, str] | None = None
) -> Path:
    """Make a bundle for each port, in /shared/bundles/PORT; return that folder.

    Its container connects to that port of the test network's server, and ends. Its
    cgroup is `CGROUP/PORT`, or has the one of `names` that is the port's.
    """
    base = specification(room)
    folder = room.shared / "bundles"
    for port in ports:
        base["process"]["args"] = ["/connect", SERVER4, str(port)]
        base["linux"]["cgroupsPath"] = f"{cgroup}/{(names or {}).get(port, port)}"
        (folder / str(port)).mkdir(parents=True, exist_ok=True)
        (folder / str(port) / "config.json").write_text(json.dumps(base))
    return folder
