"""What `egressmon drift` says of two versions: of an SDK, and of a dependency."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from acme import VERSIONS, install, program
from environments import HERE, python_with
from sdk_runs import RunError, Runner
from sdks import KEYS, SDKS

_POLICY = """\
version = 1

[[allow]]
host = "{vendor}"
"""
_HEAD = """\
# What drift looks like

Made by `scripts/make-surfaces`, from real runs; do not edit. What the rows mean, and
who acts, is in [operations/drift.md](operations/drift.md). Both baselines are as
`egressmon baseline write` makes them: nobody has reviewed them, which is noted.
"""
_SDK = """
## An SDK's old and new version

`openai` {old} and {new}, with their dependencies, in the same program; the baseline is
of the old version. The vendor is the same; the code that connects is not:

{drift}"""
_ACME = """
## A dependency that starts to report home

A program that calls the vendor, and uses a package of which version {new} connects to a
server of its makers'. The policy allows the vendor alone, and only reports; the
baseline is of version {old}:

{drift}
On a terminal:

```text
{table}```
"""


def page(runner: Runner) -> str:
    """Return the page."""
    return _HEAD + _of_sdk(runner) + _of_dependency(runner)


class _Compared:
    """Runs of two versions, in a folder."""

    def __init__(self, runner: Runner, folder: Path, vendor: str) -> None:
        self._runner = runner
        self._folder = folder
        self._policy = folder / "egress.toml"
        self._policy.write_text(_POLICY.format(vendor=vendor), encoding="utf-8")
        self._baseline = folder / "baseline.toml"

    def run(self, name: str, words: Sequence[str], **environment: str) -> Path:
        """Return the evidence of a run."""
        folder = self._folder / name
        folder.mkdir()
        options = ("--policy", str(self._policy))
        return self._runner.watch(
            folder, [*words, "marks"], {**KEYS, **environment}, options
        )

    def baseline(self, evidence: Path) -> None:
        """Take a run as what is reviewed."""
        self._say(0, "baseline", "write", str(evidence), "-o", str(self._baseline))

    def drift(self, evidence: Path, form: str) -> str:
        """Return how a run drifted."""
        words = ("--policy", str(self._policy), "--format", form)
        return self._say(1, "drift", str(self._baseline), str(evidence), *words)

    def _say(self, status: int, *words: str) -> str:
        done = subprocess.run(
            [*self._runner.egressmon, *words],
            check=False,
            capture_output=True,
            text=True,
            cwd=self._folder,
        )
        if done.returncode != status:
            raise RunError(f"{words[0]}: status {done.returncode}: {done.stderr}")
        return done.stdout


def _of_sdk(runner: Runner) -> str:
    new, old = (one for one in SDKS if (one.name, one.registry) == ("openai", "PyPI"))
    with tempfile.TemporaryDirectory(prefix="egressmon-drift-") as made:
        compared = _Compared(runner, Path(made), new.vendor)
        before, after = old.prepare(), new.prepare()
        compared.baseline(compared.run("old", before.words))
        drift = compared.drift(compared.run("new", after.words), "markdown")
    return _SDK.format(old=before.version, new=after.version, drift=drift)


def _of_dependency(runner: Runner) -> str:
    old, new = VERSIONS
    with tempfile.TemporaryDirectory(prefix="egressmon-drift-") as made:
        compared = _Compared(runner, Path(made), SDKS[0].vendor)
        text = program(str(HERE / "clients/client.py"))
        words = [str(python_with("sdks")), "-c", text, "client.py", "anthropic"]

        def run(version: str) -> Path:
            packages = Path(made) / f"packages/{version}/site-packages"
            install(packages, version)
            return compared.run(version, words, PYTHONPATH=str(packages))

        compared.baseline(run(old))
        evidence = run(new)
        drift, table = (
            compared.drift(evidence, form) for form in ("markdown", "table")
        )
    return _ACME.format(old=old, new=new, drift=drift, table=table)
