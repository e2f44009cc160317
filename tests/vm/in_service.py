"""Runs in a machine that systemd booted: what the unit does there, as JSON.

Imports nothing of ours: it is copied there alone.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

UNIT = "egressmon-sidecar.service"
EVIDENCE = Path("/var/lib/egressmon-sidecar")
TOKEN = "/run/egressmon/token"  # noqa: S105 -- its path
PATIENCE_S = 150
CONNECT = "import socket; socket.socket().connect_ex(('10.213.7.2', {}))"


def say(*words: str) -> dict[str, Any]:
    """Run a command, and return how it went."""
    began = time.monotonic()
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    took = time.monotonic() - began
    sys.stderr.write(f"{took:.1f} s: {' '.join(words)}: {done.returncode}\n")
    sys.stderr.flush()
    return {"status": done.returncode, "out": done.stdout, "err": done.stderr}


def shown(name: str) -> str:
    """Return a property of the unit."""
    return str(say("systemctl", "show", "-P", name, UNIT)["out"]).strip()


def watching(than: str = "") -> str:
    """Wait until another run than `than` watches, and return what it is called."""
    deadline = time.monotonic() + PATIENCE_S
    asked: dict[str, Any] = {}
    while time.monotonic() < deadline:
        asked = say("egressmon", "sidecar", "status", "--json")
        if asked["status"] == 0:
            run = str(json.loads(asked["out"])["run"])
            if run != than:
                return run
        time.sleep(1)
    sys.exit(f"no other run watches: {asked}\n{say('journalctl', '-u', UNIT)['out']}")


def ended(run: str) -> dict[str, Any]:
    """Return what its evidence says of a run: its connections, and its end."""
    records: list[dict[str, Any]] = []
    for file in sorted(EVIDENCE.glob(f"{run}-*.jsonl")):
        records += map(json.loads, file.read_text().splitlines())
    ends = [one for one in records if one["type"] == "run.end"]
    reached = [
        one
        for one in records
        if one["type"] == "connection" and one["dst"]["ip"] == "10.213.7.2"
    ]
    began = [one for one in records if one["type"] in {"restart", "gap"}]
    last = records[-1]["type"]
    return {"end": ends, "reached": reached, "last": last, "began": began}


def connect(port: int) -> None:
    """Connect to a machine that is not there, as a job would."""
    words = ["/usr/bin/python3.11", "-I", "-c", CONNECT.format(port)]
    subprocess.run(words, check=True, cwd="/")


def scenario() -> dict[str, Any]:
    """Start, ask, conclude, kill and stop the service; return what was seen."""
    found: dict[str, Any] = {}
    for words in (
        ("ip", "link", "add", "lab0", "type", "dummy"),
        ("ip", "address", "add", "10.213.7.1/24", "dev", "lab0"),
        ("ip", "link", "set", "lab0", "up"),
    ):
        say(*words)
    found["started"] = say("systemctl", "start", UNIT)
    first = watching()
    found["active"] = shown("ActiveState")
    found["control"] = [TOKEN, f"{os.stat(TOKEN).st_mode & 0o7777:o}"]  # noqa: PTH116
    connect(4301)
    found["refused"] = say("egressmon", "sidecar", "stop", "--json")["status"]
    # That stop ended the first run: a reload is of one that watches.
    second = watching(than=first)
    found["reloaded"] = [
        say("systemctl", "reload", UNIT),
        say("egressmon", "sidecar", "reload"),
    ]
    found["after reload"] = say("egressmon", "sidecar", "status", "--json")
    return found | _ends(first, second)


def _ends(first: str, second: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    asked = "egressmon sidecar stop --token-stdin --json <" + TOKEN
    connect(4302)
    found["stopped"] = say("sh", "-c", asked)
    third = watching(than=second)
    pid = shown("MainPID")
    found["stored"] = int(shown("NFileDescriptorStore"))
    found["killed"] = say("sh", "-c", f"kill -9 {int(pid)}")["status"]
    connect(4304)
    fourth = watching(than=third)
    found["restarts"] = int(shown("NRestarts"))
    connect(4303)
    found["restarted"] = say("systemctl", "restart", UNIT)["status"]
    fifth = watching(than=fourth)
    connect(4305)
    found["stop"] = say("systemctl", "stop", UNIT)
    found["inactive"] = shown("ActiveState")
    for name, run in zip(
        ("first", "second", "third", "fourth", "fifth"),
        (first, second, third, fourth, fifth),
        strict=True,
    ):
        found[name] = ended(run)
    found["verified"] = say("egressmon", "verify", str(EVIDENCE))
    found["journal"] = say("journalctl", "--no-pager", "-u", UNIT)["out"]
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(scenario()))
