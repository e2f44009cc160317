"""What a sidecar told of containers, as a row of docs/containers.md."""

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from support.engines.page import Row
from support.lab import SERVER4, Lab
from support.sidecars import Sidecar

Json = dict[str, Any]
# Where the rows are collected, a line of JSON for each.
REPORT = "EGRESSMON_ENGINES_REPORT"
_ID = re.compile(r"[0-9a-f]{64}")
_ROOM = re.compile(r"^/engines-\d+-[0-9a-f]+")
# buildkit's, buildah's, and those that bundles.py makes.
_SHORT_ID = re.compile(
    r"(?<=buildkit/)[0-9a-z]{25}|(?<=buildah-buildah)\d+|(?<=-test/)\d+"
)


def told(aside: Sidecar, ports: Iterable[int], exe: str = "/connect") -> list[Json]:
    """Return the connections that `exe` made to these ports of the server; they verify.

    Each record must be of a port of its own.
    """
    wanted = set(ports)
    found = [
        one
        for one in aside.verified()
        if one["type"] == "connection"
        and one["dst"]["ip"] == SERVER4
        and one["dst"]["port"] in wanted
        and one["process"] is not None
        and one["process"]["exe"] == exe
    ]
    made = [one["dst"]["port"] for one in found]
    assert len(made) == len(set(made)), f"seen twice: {sorted(made)}"
    return found


def incomplete(aside: Sidecar) -> str:
    """Return why its run is incomplete; "" if it is not."""
    return "; ".join(aside.records()[-1]["incomplete_reasons"])


def containers(aside: Sidecar) -> dict[str, Json]:
    """Return what was last said of each container, by its key."""
    return {one["key"]: one for one in aside.records() if one["type"] == "container"}


def _general(cgroup: str | None) -> str:
    """Return a cgroup's path in a room, with `ID` in place of what differs."""
    inside = _ROOM.sub("", cgroup or "")
    return _SHORT_ID.sub("ID", _ID.sub("ID", inside))


def report(row: Row) -> None:
    """Add a row to the report, if one is wanted."""
    if where := os.environ.get(REPORT):
        with Path(where).open("a") as file:
            print(json.dumps(asdict(row)), file=file)


def looked_up(found: list[Json]) -> list[str]:
    """Return the names that the programs of these connections had looked up."""
    names = [name for one in found for name in one["dst"]["names"]]
    return sorted({one["name"] for one in names if one["source"] == "dns"})


def asked_by(aside: Sidecar, exe: str) -> list[str]:
    """Return what is said of each look-up of `exe`."""
    return [
        one["reason"]
        for one in aside.records()
        if one["type"] == "dns"
        and one["process"] is not None
        and one["process"]["exe"] == exe
    ]


@contextmanager
def other_resolver(network: Lab) -> Generator[str]:
    """Yield an address at which the network's name server is not trusted."""
    address = "198.51.100.53"
    words = ["ip", "-n", network.server, "address"]
    subprocess.run([*words, "add", f"{address}/32", "dev", "lo"], check=True)
    try:
        yield address
    finally:
        subprocess.run([*words, "del", f"{address}/32", "dev", "lo"], check=True)


def origins(found: list[Json]) -> str:
    """Return what these connections belong to, as their records say; or ""."""
    return ", ".join(sorted({one["origin"] for one in found if one.get("origin")}))


def seen(aside: Sidecar, found: list[Json], row: Row) -> list[Json]:
    """Report that these connections of containers were seen, and assert that all were.

    `row` says what was made, and how. Return what was said of the containers, one for
    each connection that is in one.
    """
    known = containers(aside)
    keys = [one["process"]["container"] for one in found]
    who = [known[key] for key in keys if key is not None]
    doubts = Counter(one["reason"] for one in who if not one["confirmed"])
    said = [f"{times} unconfirmed: {reason}" for reason, times in doubts.items()]
    told = replace(
        row,
        seen=len(found),
        known=len(who),
        confirmed=sum(one["confirmed"] for one in who),
        told_as=", ".join(sorted({one["engine"] for one in who})),
        cgroup=", ".join(sorted({_general(one["cgroup"]) for one in who})),
        origin=origins(found),
        notes="; ".join(filter(None, [row.notes, *said])),
    )
    report(told)
    assert told.seen == row.of, f"{told.seen} of {row.of} seen"
    return who
