"""Run each tool under `egressmon learn --audit`, and keep what that writes.

    python make_examples.py DOCS [NAME...]

It is run by scripts/make-surface-examples, in namespaces of its own.
"""

import datetime as dt
import http.client
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from network import network
from programs import APP, HOME, PROGRAMS, PROJECT, Program
from tools_page import Done, update

_GROUP = 65534
_EGRESSMON = ("sudo", "/opt/egressmon/bin/python", "-I", "-m", "egressmon")
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_KEPT = (".cache", ".config", ".local", ".npm")
"""What tools keep for their next run: each begins without."""
_LIMIT = 600  # seconds
_STARTING = 120  # seconds


class Runs:
    """Runs tools as a user without rights, who becomes root only for egressmon."""

    def __init__(self, authority: Path, user: int) -> None:
        self._authority = authority
        self._user = user

    def learn(self, name: str, program: Program, to: Path) -> None:
        """Run `program`, and write NAME.md and NAME.toml to the folder `to`."""
        written = HOME / f"{name}.toml"
        if (
            program.first is not None
            and not (program.where / program.first[0]).exists()
        ):
            first = self._as_user([*program.first[1]], program)
            subprocess.run(first, cwd=program.where, check=True)
        for kept in _KEPT:
            shutil.rmtree(HOME / kept, ignore_errors=True)
        words = [*_EGRESSMON, "learn", "--audit", str(HOME / f"{name}.md")]
        words += ["--output", str(written), "--evidence", str(HOME / f"{name}.jsonl")]
        process = subprocess.Popen(
            self._as_user([*words, "--", *program.words], program), cwd=program.where
        )
        if program.asked is not None:
            asking = threading.Thread(target=_ask, args=(program.asked,), daemon=True)
            asking.start()
        process.wait(_LIMIT)
        if not written.exists():
            raise SystemExit(f"error: nothing was learned of {name}; see above")
        for kind in (".md", ".toml"):
            text = written.with_suffix(kind).read_text(encoding="utf-8")
            (to / f"{name}{kind}").write_text(text, encoding="utf-8")

    def version(self, program: Program) -> str:
        """Return the version that `program` prints: its first number with dots."""
        words = self._as_user([*program.version], program)
        said = subprocess.check_output(words, cwd=program.where, text=True)
        found = re.search(r"\d+(\.\d+)+", said)
        return found[0] if found is not None else "?"

    def _as_user(self, words: list[str], program: Program) -> list[str]:
        variables = {"HOME": str(HOME), "PATH": _PATH, "USER": "example"}
        for name, value in program.variables.items():
            variables[name] = value.format(ca=self._authority)
        drop = [
            "setpriv",
            f"--reuid={self._user}",
            f"--regid={_GROUP}",
            "--clear-groups",
        ]
        said = [f"{name}={value}" for name, value in variables.items()]
        return [*drop, "env", "-i", *said, *words]


# To be told in the page: no inventory has it.
def _tell(served: Path) -> None:
    asked = dict.fromkeys((served / "requests").read_text("utf-8").splitlines())
    print("the stand-in was asked for:", *asked, sep="\n  ", file=sys.stderr)


def _ask(address: str) -> None:
    end = time.monotonic() + _STARTING
    while time.monotonic() < end:
        connection = http.client.HTTPConnection(address, timeout=10)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            time.sleep(1)
        else:
            return
        finally:
            connection.close()


# As somebody has it whose browser trusts the authority.
def _home(authority: Path, user: int) -> None:
    store = HOME / ".pki/nssdb"
    store.mkdir(parents=True)
    PROJECT.mkdir()
    database = ("certutil", "-d", f"sql:{store}")
    subprocess.run([*database, "-N", "--empty-password"], check=True)
    added = ("-A", "-t", "C,,", "-n", "surfaces", "-i", str(authority))
    subprocess.run([*database, *added], check=True)
    for folder in (HOME, APP):
        shutil.chown(folder, user, _GROUP)
        for path in folder.rglob("*"):
            os.chown(path, user, _GROUP, follow_symlinks=False)


def _main(docs: Path, names: list[str]) -> None:
    if unknown := {*names} - {*PROGRAMS}:
        known = ", ".join(PROGRAMS)
        raise SystemExit(f"error: no such tool: {', '.join(unknown)}\nhint: {known}")
    to = docs / "examples/surfaces"
    to.mkdir(exist_ok=True)
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    user = int(os.environ["USER_ID"])
    served = Path("/srv/served")
    with network(served) as authority:
        _home(authority, user)
        runs = Runs(authority, user)
        for name in names or PROGRAMS:
            program = PROGRAMS[name]
            runs.learn(name, program, to)
            done = Done(name, runs.version(program), today)
            update(docs / "surfaces-examples.md", done, program, to)
            _tell(served)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
