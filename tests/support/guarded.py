"""Programs under the guard: each in a process of its own, as its hook stays."""

import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]
POLICY = """\
version = 1
[[allow]]
host = "localhost"
ports = [9]
[[allow]]
cidr = "127.0.0.2"
ports = [9]
protocol = "any"
"""
"""Nothing listens at the discard port: what is allowed is refused by the kernel."""
_PRELUDE = """\
import socket, sys
from egressmon.guard import EgressGuard, EgressViolation
EgressGuard.install({policy!r})
def attempt(function):
    try:
        function()
    except EgressViolation as violation:
        print("violation", violation.host, violation.port)
    except ConnectionRefusedError:
        print("reached")
    except Exception as error:
        print("failed", repr(error))
    else:
        print("done")
"""


def written(folder: Path, text: str = POLICY) -> Path:
    """Write a policy to `folder`; return its path."""
    path = folder / "egress.toml"
    path.write_text(text)
    return path


def run(
    folder: Path, code: str, policy: str = POLICY, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    """Run `code` in a guarded Python; it has `attempt`, which prints how one ended."""
    prelude = _PRELUDE.format(policy=str(written(folder, policy)))
    return subprocess.run(
        [python, "-c", prelude + textwrap.dedent(code)],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
    )


def lines(folder: Path, code: str, policy: str = POLICY) -> list[str]:
    """Return what `code` prints in a guarded Python, which ends well."""
    done = run(folder, code, policy)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def environment(folder: Path, python: str = sys.executable) -> Path:
    """Make a virtual environment that has this checkout's egressmon; return it."""
    venv = folder / "venv"
    made = [python, "-m", "venv", "--without-pip", str(venv)]
    subprocess.run(made, check=True, capture_output=True)
    packages = next(venv.glob("lib/python3.*/site-packages"))
    paths = [ROOT / one for one in ("monitor", "policy", "probes")]
    paths += [one for one in map(Path, sys.path) if one.name == "site-packages"]
    (packages / "_egressmon.pth").write_text("".join(f"{one}\n" for one in paths))
    (packages / "egressmon-0.1.0.dist-info").mkdir()
    return venv
