"""Programs in the lab's client namespace, for filters that are applied there alone."""

import json
import subprocess
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from support.lab import Lab, name_server
from support.watching import EGRESSMON

NFT = "/usr/sbin/nft"
STUB = "127.0.0.53"
"""Where the client's own DNS server answers."""
_TRIES = Path(__file__).with_name("tries.py")


def policy(folder: Path, text: str) -> str:
    """Write a policy of `text` that trusts the stub, and return its path."""
    path = folder / "egress.toml"
    path.write_text(f'version = 1\nenforce = "fail"\n{text}\n')
    if "[dns]" not in text:
        with path.open("a") as file:
            file.write(f'[dns]\nresolvers = ["{STUB}"]\nqueries = "any"\n')
    return str(path)


@dataclass(frozen=True)
class Client:
    """The client's namespace, with a resolv.conf that names the stub."""

    network: Lab
    folder: Path

    def words(self) -> list[str]:
        """Return the words that run what follows in it."""
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        conf = self.folder / "resolv.conf"
        conf.write_text(f"nameserver {STUB}\noptions timeout:1 attempts:1\n")
        return [
            *("nsenter", f"--net=/run/netns/{self.network.client}"),
            *("unshare", "--mount", "--propagation", "private"),
            *("sh", "-c", script, str(conf)),
        ]

    def run(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run words in it."""
        return subprocess.run(
            [*self.words(), *words],
            check=False,
            capture_output=True,
            text=True,
            input=text,
            timeout=120,
        )

    def nftables(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `egressmon policy nftables` in it."""
        return self.run(*EGRESSMON, "policy", "nftables", *words)

    def listed(self) -> str:
        """Return the whole ruleset, as nft lists it."""
        return self.run(NFT, "list", "ruleset").stdout

    def tries(
        self,
        *tries: Sequence[object],
        by: Sequence[str] = (),
        cgroup: Path | None = None,
    ) -> list[str]:
        """Return what came of each try (see tries.py), all made by one program."""
        given = json.dumps({"tries": tries, "cgroup": str(cgroup) if cgroup else None})
        done = self.run(*by, sys.executable, "-I", str(_TRIES), text=given)
        assert done.returncode == 0, done.stderr
        said: list[str] = json.loads(done.stdout)
        return said

    def names(self, *records: str) -> AbstractContextManager[None]:
        """Run the stub with `records` (such as `one.example.test,10.213.7.2`)."""
        options = [f"--host-record={record}" for record in records]
        own = [f"--listen-address={STUB}", "--bind-interfaces", "--local=/./"]
        return name_server(self.network.client, *own, *options)


@contextmanager
def applied(client: Client, *words: str) -> Generator[subprocess.CompletedProcess[str]]:
    """Apply a filter in the client's namespace; remove it at the end."""
    try:
        done = client.nftables(*words, "--apply")
        assert done.returncode in {0, 1}, done.stderr
        yield done
    finally:
        client.run(NFT, "delete", "table", "inet", "egressmon")


class Evaluator:
    """A program in a namespace that loads rulesets and says which destinations pass."""

    def __init__(self, namespace: str, listening: Iterable[int]) -> None:
        enter = ["nsenter", f"--net=/run/netns/{namespace}"]
        ports = map(str, listening)
        self._process = subprocess.Popen(
            [*enter, sys.executable, "-I", str(_TRIES), "serve", *ports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def verdicts(self, ruleset: str, tries: Iterable[Sequence[object]]) -> list[str]:
        """Load `ruleset`, and return what comes of `tries` then."""
        question = json.dumps({"load": ruleset, "tries": list(tries)})
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        said: Any = json.loads(self._process.stdout.readline())
        assert isinstance(said, list), f"{said}\n{ruleset}"
        return cast("list[str]", said)

    def close(self) -> None:
        """End the program."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
