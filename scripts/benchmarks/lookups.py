"""A network of its own for look-ups, with the server that answers them."""

import subprocess
from pathlib import Path

HERE = Path(__file__).parent
RESOLVER = "192.0.2.53"
POLICY = 'version = 1\n[dns]\nqueries = "any"\n'
_SCRIPT = f"""
ip link set lo up && ip address add {RESOLVER}/32 dev lo || exit 1
mount --bind "$1" /etc/resolv.conf || exit 1
coproc "$0" serve {RESOLVER}
read -r <&"${{COPROC[0]}}" || exit 1
"${{@:2}}"
status=$?
kill "$COPROC_PID"
exit "$status"
"""


class Lookups:
    """What makes look-ups and answers them, in `folder`."""

    def __init__(self, folder: Path) -> None:
        """Compile lookups.c."""
        self._program = str(folder / "lookups")
        self._resolver = folder / "resolv.conf"
        self._resolver.write_text(f"nameserver {RESOLVER}\n")
        self.policy = folder / "policy.toml"
        self.policy.write_text(POLICY)
        source = str(HERE / "lookups.c")
        subprocess.run(["gcc", "-O2", "-o", self._program, source], check=True)

    def ask(self, rate: int, count: int) -> list[str]:
        """Return the command that makes `count` look-ups, `rate` a second."""
        return [self._program, "ask", RESOLVER, str(rate), str(count)]

    def network(self, words: list[str]) -> list[str]:
        """Return the command that runs `words` where the server answers."""
        enter = ["unshare", "--net", "--mount", "bash", "-c", _SCRIPT, self._program]
        return [*enter, str(self._resolver), *words]
