"""What a sidecar told of containers, as a row of docs/containers.md."""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from support.engines.page import Row
from support.lab import SERVER4
from support.sidecars import Sidecar

Json = dict[str, Any]
# Where the rows are collected, a line of JSON for each.
REPORT = "EGRESSMON_ENGINES_REPORT"
_ID = re.compile(r"[0-9a-f]{64}")
_SHORT_ID = re.compile(r"(?<=buildkit/)[0-9a-z]{25}|(?<=/buildah-buildah)\d+")


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


def doubts(aside: Sidecar) -> str:
    """Return why its run is incomplete; "" if it is not."""
    return "; ".join(aside.records()[-1]["incomplete_reasons"])


def general(cgroup: str) -> str:
    """Return a cgroup's path with `ID` in place of what differs by container."""
    return _SHORT_ID.sub("ID", _ID.sub("ID", cgroup))


def report(row: Row) -> None:
    """Add a row to the report, if one is wanted."""
    if where := os.environ.get(REPORT):
        with Path(where).open("a") as file:
            print(json.dumps(asdict(row)), file=file)


def seen(found: list[Json], engine: str, how: str, of: int, **more: str) -> None:
    """Report how containers were seen, and assert that all of them were."""
    known = [one for one in found if one["process"]["container"] is not None]
    report(Row(engine, how, of, len(found), len(known), **more))
    assert len(found) == of, f"{len(found)} of {of} seen"
